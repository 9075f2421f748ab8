"""README and docs/ against the code: what they name exists, what they tell to type parses, and their tables are complete."""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import shlex
import sqlite3
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from shared import embedding_db, errors
from shared.events import Sighting
from shared.settings.example import example_toml
from shared.settings.file import parse_settings
from shared.settings.schema import (
    BackendSettings,
    CameraSettings,
    RecognitionSettings,
    SiteSettings,
    SyncSettings,
    WebSettings,
)
from shared.store import schema as store_schema
from tests.docs.test_house import SHARED, WORKERS
from tests.support.paths import ROOT
from workers.commands.command_line import COMMANDS, build_parser

DOCUMENTS = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
}
_SECTIONS: dict[str, type[BaseModel]] = {
    "site": SiteSettings,
    "recognition": RecognitionSettings,
    "cameras.NAME": CameraSettings,
    "sync": SyncSettings,
    "web": WebSettings,
    "backend": BackendSettings,
}
_README_LINES = 200
# Files of ours that point their reader at a document.
_POINTING = [
    path
    for part in ("shared", "workers", "tests", "deploy", ".ci")
    for path in sorted((ROOT / part).rglob("*"))
    if path.is_file() and path.suffix != ".pyc"
] + [ROOT / "supervisor.py", ROOT / "pyproject.toml"]


def section(document: str, heading: str) -> str:
    """What stands under a heading, to the next of its level."""
    (level, rest) = re.split(rf"^(##+) {re.escape(heading)}$", DOCUMENTS[document], maxsplit=1, flags=re.M)[1:]
    return re.split(rf"^#{{1,{len(level)}}} ", rest, maxsplit=1, flags=re.M)[0]


def blocks(document: str, language: str) -> list[str]:
    """The code blocks of a document that are of this language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENTS[document], re.S | re.M)


def subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    found: dict[str, argparse.ArgumentParser] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found |= action.choices
    return found


def options(parser: argparse.ArgumentParser) -> set[str]:
    return {name for action in parser._actions for name in action.option_strings if name.startswith("--")}


def all_options(parser: argparse.ArgumentParser) -> set[str]:
    """With those of its own words."""
    return options(parser).union(*map(all_options, subparsers(parser).values()))


# --- what is typed -------------------------------------------------------------------------------------------------


def test_every_command_and_option_is_in_the_table_and_nothing_else() -> None:
    """The table of commands names exactly the words and options that the command line takes."""
    rows = re.findall(r"^\| `([^`]+)` \|", section("docs/commands.md", "Every command"), re.M)
    told = {row.split()[0]: set[str]() for row in rows}
    for row in rows:
        told[row.split()[0]] |= set(re.findall(r"--[a-z-]+", row))
    commands = subparsers(build_parser())
    assert set(told) == set(commands)
    for name, parser in commands.items():
        known = all_options(parser)
        assert told[name] == known - {"--help", "--config", "--json"}, name


def test_every_command_has_its_json() -> None:
    """Each command that answers with one document has a row for it; the others print events."""
    rows = re.findall(r"^\| `([a-z -]+)` \| `\{", section("docs/commands.md", "JSON"), re.M)
    assert {row.split()[0] for row in rows} == set(COMMANDS) - {"run", "demo", "events"}


def typed(document: str) -> Iterator[list[str]]:
    """The words of each command of ours that a document tells to type, by whatever it is called there."""
    ours = r"(?:\S*python3? \S*supervisor\.py|rollcall|rollcall-sandboxed)"
    for block in blocks(document, "sh"):
        for line in block.splitlines():
            found = re.match(rf"(?:sudo (?:-u \S+ )?)?{ours} ([a-z].*)", line)
            if found:
                yield shlex.split(found[1], comments=True)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_in_a_code_block_is_one(document: str) -> None:
    """Whatever a document tells to type is a command of ours with options that it takes."""
    for words in typed(document):
        build_parser().parse_args(words)


def test_commands_in_code_blocks_are_found() -> None:
    """README, operating and events tell to type commands; each way to call ours is among them."""
    assert len(list(typed("README.md"))) >= 6
    assert len(list(typed("docs/operating.md"))) >= 20
    assert len(list(typed("docs/events.md"))) == 3


@pytest.mark.parametrize("document", [name for name in DOCUMENTS if blocks(name, "sh")])
def test_every_code_block_is_shell(document: str) -> None:
    """The shell can read every block that is to be typed into it."""
    for block in blocks(document, "sh"):
        done = subprocess.run(["bash", "-n"], input=block, text=True, capture_output=True, check=False, timeout=30)
        assert done.returncode == 0, (block, done.stderr)


def test_every_installation_takes_the_tested_versions() -> None:
    """Each pip command that a document, .ci/run and our own remedies tell takes constraints.txt, and extras that there are;
    .ci/run installs what docs/development.md tells whoever runs the tests."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    texts = {**DOCUMENTS, ".ci/run": (ROOT / ".ci" / "run").read_text(encoding="utf-8")}
    for part in ("workers", "shared"):
        texts |= {str(path): path.read_text(encoding="utf-8") for path in (ROOT / part).rglob("*.py")}
    told = {path: re.findall(r"pip\S* install [^\n]*", text) for path, text in texts.items()}
    assert sum(map(len, told.values())) >= 6
    assert len(told["README.md"]) == 2
    for path, commands in told.items():
        for line in commands:
            assert re.search(r"-c \S*", line), (path, line)
            assert "constraints.txt" in line, (path, line)
            for names in re.findall(r"\[([a-z,-]+)\]", line):
                assert set(names.split(",")) <= set(extras), (path, line)
    (tests,) = [line for line in told["docs/development.md"] if "test" in line]
    assert re.search(r"'[^']*'", tests)[0] in texts[".ci/run"]  # type: ignore[index]  # the line has one
    assert set(extras) == {"embedded", "demo", "web", "backend", "test", "browser-test"}


def test_nothing_installs_somebody_elses_rollcall() -> None:
    """The distribution has a name of its own, and no file tells to install what an index has under the program's."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["name"] == "rollcall-site"
    assert f"`{project['name']}`" in DOCUMENTS["README.md"]
    assert f"{project['name'].replace('-', '_')}.egg-info" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    files = (path for path in _POINTING if path != Path(__file__))
    texts = {**DOCUMENTS, **{str(path): path.read_text(encoding="utf-8") for path in files}}
    foreign = re.compile(r"pip\S* (?:install|download) (?:[^\n]*\s)?['\"]?rollcall(?![\w/-])")
    assert [path for path, text in texts.items() if foreign.search(text)] == []
    assert foreign.search("pip install -c constraints.txt 'rollcall[embedded]'")


# --- tables and examples -------------------------------------------------------------------------------------------


def test_every_setting_is_in_the_table_with_its_default() -> None:
    """The table of settings has each key of the schema once, with the default and the description of the schema."""
    rows = dict(
        re.findall(r"^\| (`\[[^\]]+\]` `[a-z_]+`) \| (.*) \|$", section("docs/settings.md", "Every setting"), re.M)
    )
    wanted = {}
    for title, schema in _SECTIONS.items():
        for key, field in schema.model_fields.items():
            if title == "cameras.NAME" and key in RecognitionSettings.model_fields:
                continue
            default = "required" if field.is_required() else _shown(field.default)
            meaning = str(field.description).replace("|", "\\|")
            wanted[f"`[{title}]` `{key}`"] = f"{default} | {meaning}"
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


def test_every_settings_file_that_is_shown_is_valid() -> None:
    """A site.toml in a document has no fault."""
    shown = [block for document in DOCUMENTS for block in blocks(document, "toml")]
    assert len(shown) >= 2
    for block in shown:
        parse_settings(tomllib.loads(block), ROOT / "site.toml", environ={})


@pytest.mark.parametrize("name", sorted(set(re.findall(r"^\| `([a-z_]+)\(", DOCUMENTS["docs/store.md"], re.M))))
def test_every_function_of_the_original_is_there(name: str) -> None:
    """The table of old and new names functions that exist."""
    assert callable(getattr(embedding_db, name))


def test_the_original_s_functions_are_told() -> None:
    """The table has the eight functions that the original program's users call."""
    assert len(set(re.findall(r"^\| `([a-z_]+)\(", DOCUMENTS["docs/store.md"], re.M))) == 8


def test_every_table_of_the_store_is_told() -> None:
    """docs/store.md names each table of the database, and no other."""
    told = re.findall(r"^\| (`[a-z_]+`(?:, `[a-z_]+`)*) \|", section("docs/store.md", "The database"), re.M)
    connection = sqlite3.connect(":memory:")
    for statement in (store_schema.EMBEDDINGS, *store_schema.OWN_TABLES):
        connection.execute(statement)
    tables = {name for name in store_schema.tables(connection) if not name.startswith("sqlite_")}
    connection.close()
    assert set(re.findall(r"`([a-z_]+)`", " ".join(told))) == tables


def test_the_example_event_has_every_field() -> None:
    """The event in docs/events.md has the fields of a real one and fits its type, and the table explains each of them."""
    (example,) = blocks("docs/events.md", "json")
    shown = Sighting.from_json(json.loads(example))
    assert not shown.more
    assert set(json.loads(example)) == set(shown.to_json())
    table = "".join(re.findall(r"^\| (`[^|]+) \|", section("docs/events.md", "One event"), re.M))
    assert set(re.findall(r"`([a-z_]+)`", table)) == set(shown.to_json())


def test_every_field_of_an_event_is_told() -> None:
    """docs/events.md names each field that a sighting can have, but those that are for the writer alone."""
    for_the_writer = {"key", "traces", "fingerprint", "alike", "probe", "nearest", "clear", "picture", "more"}
    fields = {field.name for field in dataclasses.fields(Sighting)} - for_the_writer
    told = set(re.findall(r"[`\"]([a-z_]+)[`\"]", DOCUMENTS["docs/events.md"]))
    assert fields - told == set()
    assert for_the_writer & told == set()


def test_every_exit_code_is_told() -> None:
    """The table of exit codes has each that shared/errors.py knows."""
    told = re.findall(r"^\| (\d+) \|", section("docs/commands.md", "Exit codes"), re.M)
    assert sorted(map(int, told)) == sorted(value for name, value in vars(errors).items() if name.startswith("EXIT_"))


def test_the_picture_of_the_house_is_true() -> None:
    """In docs/development.md's picture every folder stands above all that it may import, and none is missing."""
    (picture,) = blocks("docs/development.md", "house")
    above, below = re.split(r"^─+ shared ─+$", picture, flags=re.M)
    for drawn, table in ((above, WORKERS), (below, SHARED)):
        floors = [line.split() for line in drawn.splitlines() if "─" not in line and line != "supervisor.py"]
        floor_of = {name: -place for place, floor in enumerate(floors) for name in floor}
        assert floor_of.keys() == table.keys() - {"__main__"}
        for name, wanted in table.items():
            for other in wanted:
                assert floor_of[other] < floor_of[name], (name, other)


# --- files and links -----------------------------------------------------------------------------------------------


def named_files(text: str) -> set[str]:
    """The paths below our own folders that a text names."""
    found = re.findall(r"(?<![\w/.-])((?:shared|workers|deploy|tests|docs|\.ci)/[\w./-]*)", text)
    return {path.rstrip(".") for path in found}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_file_it_names_exists(document: str) -> None:
    """Modules and files that a document points at are where it says."""
    named = named_files(DOCUMENTS[document])
    assert [path for path in named if not (ROOT / path).exists()] == []
    for module in re.findall(r"python -m ((?:shared|workers|tests)[a-z_.]*)", DOCUMENTS[document]):
        assert (ROOT / Path(*module.split("."))).with_suffix(".py").exists(), module


def test_files_and_modules_are_found() -> None:
    """The documents name files."""
    assert len(set().union(*map(named_files, DOCUMENTS.values()))) >= 50


def anchors(text: str) -> set[str]:
    """What a link to a heading of this document says after the `#`: as GitHub makes it."""
    without_code = re.sub(r"^```.*?^```$", "", text, flags=re.S | re.M)
    headings = re.findall(r"^#+ (.*)$", without_code, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def leads_nowhere(target: str, source: Path) -> bool:
    """Whether a link from the document `source` goes to no file of ours, or to no heading of it."""
    path, _, heading = target.partition("#")
    file = (source.parent / path).resolve() if path else source
    if not file.is_file() or not file.is_relative_to(ROOT):
        return True
    return bool(heading) and heading not in anchors(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_leads_somewhere(document: str) -> None:
    """A link or picture of a document leads to a file of ours, and to a heading that is there."""
    links = re.findall(r"\]\(([^)]+)\)", DOCUMENTS[document])
    assert [link for link in links if leads_nowhere(link, ROOT / document)] == []


def test_every_document_is_linked_from_the_readme() -> None:
    """Nothing in docs/ is found only by looking into the folder."""
    linked = {link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", DOCUMENTS["README.md"])}
    assert {name for name in DOCUMENTS if name != "README.md"} <= linked


def test_code_points_at_documents_that_are_there() -> None:
    """A message or comment that names a document, or a heading of one, names what there is."""
    pointers = {
        (path, found)
        for path in _POINTING
        if path != Path(__file__)
        for found in re.findall(r"(?<![\w/])docs/[\w-]+\.md(?:#[\w-]+)?", path.read_text(encoding="utf-8"))
    }
    assert len(pointers) >= 5
    assert [pointer for pointer in pointers if leads_nowhere(pointer[1], ROOT / "README.md")] == []


def test_the_readme_is_read_in_ten_minutes() -> None:
    """README is short; what does not fit belongs into docs/."""
    assert len(DOCUMENTS["README.md"].splitlines()) <= _README_LINES
