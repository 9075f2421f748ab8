"""Site folders for tests: a site.toml with the small test pack, and the people enrolled there."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from shared.ipc.client import SiteClient
from shared.ipc.requests.references import Save
from shared.records import NewReference
from shared.uuid7 import new_uuids
from tests.support.paths import SMALL_PACK
from tests.support.site_process import SiteProcess, command_json
from tests.support.vectors import noise

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


def save_references(site: SiteProcess, *names: str, seed: int = 0) -> None:
    """Save a reference of noise for each of these names at a running dlib site."""
    client = SiteClient(site.settings.run_dir, patience_s=30)
    vectors = noise(np.random.default_rng(seed), len(names), 128)
    references = [NewReference(name, uuid=uuid) for name, uuid in zip(names, new_uuids(len(names)), strict=True)]
    client.ask(Save(references, vectors=vectors))
    client.close()


def people_of(folder: Path) -> set[str]:
    """The names that `people` lists."""
    return {one["person"] for one in command_json(folder, "people")["people"]}
