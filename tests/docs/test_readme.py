"""The README against the code: its commands, options, settings, functions and files exist, and none is missing there."""

from __future__ import annotations

import argparse
import re
import tomllib
from pathlib import Path

import pytest
from pydantic import BaseModel

from shared import embedding_db
from shared.settings.example import example_toml
from shared.settings.schema import CameraSettings, RecognitionSettings, SiteSettings, SyncSettings, WebSettings
from tests.support.paths import ROOT
from workers.commands.command_line import build_parser

README = (ROOT / "README.md").read_text(encoding="utf-8")
_SECTIONS: dict[str, type[BaseModel]] = {
    "site": SiteSettings,
    "recognition": RecognitionSettings,
    "cameras.NAME": CameraSettings,
    "sync": SyncSettings,
    "web": WebSettings,
}


def subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    found: dict[str, argparse.ArgumentParser] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found |= action.choices
    return found


def options(parser: argparse.ArgumentParser) -> set[str]:
    return {name for action in parser._actions for name in action.option_strings if name.startswith("--")}


def test_every_command_and_option_is_in_the_table_and_nothing_else() -> None:
    """The table of commands names exactly the words and options that the command line takes."""
    rows = re.findall(r"^\| `([^`]+)` \|", README.split("## Commands")[1].split("## Events")[0], re.M)
    told = {row.split()[0]: set[str]() for row in rows}
    for row in rows:
        told[row.split()[0]] |= set(re.findall(r"--[a-z-]+", row))
    commands = subparsers(build_parser())
    assert set(told) == set(commands)
    for name, parser in commands.items():
        known = options(parser).union(*(options(inner) for inner in subparsers(parser).values()))
        assert told[name] == known - {"--help", "--config", "--json"}, name


def test_every_command_in_a_code_block_is_one() -> None:
    """Whatever the README tells to type parses."""
    typed = re.findall(
        r"python3? \S*supervisor\.py ([a-z][^\n#`&]*)", "\n".join(re.findall(r"```sh\n(.*?)```", README, re.S))
    )
    assert len(typed) >= 8
    for line in typed:
        words = line.split("#")[0].split()
        if words and '"$@"' not in words:
            build_parser().parse_args(words)


def test_every_setting_is_in_the_table_with_its_default() -> None:
    """The table of settings has each key of the schema once, with the default and the description of the schema."""
    rows = dict(re.findall(r"^\| (`\[[^\]]+\]` `[a-z_]+`) \| (.*) \|$", README, re.M))
    wanted = {}
    for section, schema in _SECTIONS.items():
        for key, field in schema.model_fields.items():
            if section == "cameras.NAME" and key in RecognitionSettings.model_fields:
                continue
            default = "required" if field.is_required() else _shown(field.default)
            meaning = str(field.description).replace("|", "\\|")
            wanted[f"`[{section}]` `{key}`"] = f"{default} | {meaning}"
    assert rows == wanted


def _shown(default: object) -> str:
    if default is None:
        return "none"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f'`"{default}"`' if isinstance(default, str) else f"`{default}`"


def test_the_example_file_names_every_setting() -> None:
    """`init`'s file shows each key of the schema, and nothing else."""
    shown = set(re.findall(r"^(?:# )*([a-z_]+) = ", example_toml(), re.M))
    assert shown == {key for schema in _SECTIONS.values() for key in schema.model_fields}


@pytest.mark.parametrize("name", sorted(set(re.findall(r"^\| `([a-z_]+)\(", README, re.M))))
def test_every_function_of_the_original_is_there(name: str) -> None:
    """The table of old and new names functions that exist."""
    assert callable(getattr(embedding_db, name))


def test_every_installation_takes_the_tested_versions() -> None:
    """Each pip command that README, .ci/run and our own remedies tell takes constraints.txt, and extras that there are; .ci/run
    installs what the README tells who runs the tests."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    texts = {path: path.read_text(encoding="utf-8") for path in (ROOT / "README.md", ROOT / ".ci" / "run")}
    texts |= {
        path: path.read_text(encoding="utf-8") for part in ("workers", "shared") for path in (ROOT / part).rglob("*.py")
    }
    told = {path: re.findall(r"pip\S* install [^\n]*", text) for path, text in texts.items()}
    assert sum(map(len, told.values())) >= 6
    for path, commands in told.items():
        for line in commands:
            assert re.search(r"-c \S*", line), (path, line)
            assert "constraints.txt" in line, (path, line)
            for names in re.findall(r"\[([a-z,]+)\]", line):
                assert set(names.split(",")) <= set(extras), (path, line)
    (tests,) = [line for line in told[ROOT / "README.md"] if "test" in line]
    assert re.search(r"'[^']*'", tests)[0] in texts[ROOT / ".ci" / "run"]  # type: ignore[index]  # the line has one
    assert set(extras) == {"embedded", "demo", "test"}


def test_every_file_it_names_exists() -> None:
    """Modules and files that the README points at are where it says, but for the one it says comes back."""
    named = set(re.findall(r"`((?:shared|workers|deploy|tests)/[a-z_/]+\.[a-z]+)`", README)) - {
        "workers/mongodb_sync.py"
    }
    assert len(named) >= 5
    assert [path for path in named if not (ROOT / path).exists()] == []
    for module in re.findall(r"python -m ([a-z_.]+)", README):
        assert (ROOT / Path(*module.split("."))).with_suffix(".py").exists(), module
