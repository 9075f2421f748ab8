"""Site folders for tests: a site.toml with the small test pack, and who is enrolled there."""

from __future__ import annotations

from pathlib import Path

from tests.data_paths import SMALL_PACK
from tests.site_process import command_json

_HEAD = f"""\
[site]
name = "test"
keep_unknowns_days = {{keep_unknowns_days}}
[recognition]
model = "{SMALL_PACK.name}"
models_dir = "{SMALL_PACK.parent}"
"""


def write_site(folder: Path, cameras: dict[str, str], recognition: str = "", keep_unknowns_days: int = 0) -> Path:
    """`folder`/site.toml with these [cameras.NAME] bodies; the folder."""
    sections = "".join(f"[cameras.{name}]\n{body}\n" for name, body in cameras.items())
    (folder / "site.toml").write_text(
        f"{_HEAD.format(keep_unknowns_days=keep_unknowns_days)}{recognition}\n{sections}", encoding="utf-8"
    )
    return folder


def enrol(folder: Path, *paths: Path) -> None:
    """Enrol folders of photos; all of them must be taken."""
    answer = command_json(folder, "enrol", *map(str, paths))
    assert answer["enrolled"]
    assert answer["refused"] == []
