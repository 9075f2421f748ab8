"""`forget`: a person, one photo of theirs, or a stranger, out of rows, WAL, block, photos, sightings and backup."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from shared.errors import EXIT_DONE, UsageError
from shared.settings import Settings, find_config, load_settings
from shared.site_access import Site, SiteAccess, all_references
from workers.enrolment import person_name
from workers.output import say, say_json, warn


def run(arguments: argparse.Namespace) -> int:
    settings = load_settings(find_config(arguments.config, arguments.beside))
    if (arguments.name is None) == (arguments.unknown is None):
        raise UsageError(
            "forget whom?", expected="NAME, or --unknown ID", remedy="see: supervisor.py people [--unknown]"
        )
    if arguments.unknown is not None:
        return _forget_stranger(settings, arguments)
    photo = arguments.photo
    if photo is not None and Path(photo).exists():
        photo = str(Path(photo).absolute())  # the site may be in another folder
    with SiteAccess(settings, warn) as site:
        answer = site.call("forget", person=_stored_name(site, arguments.name), photo=photo)
    return _report(
        answer, settings, arguments, "{person}: {references} references, {photos} photos, {sightings} sightings"
    )


def _forget_stranger(settings: Settings, arguments: argparse.Namespace) -> int:
    if arguments.photo is not None:
        raise UsageError("a stranger is forgotten whole", got="--photo", expected="--unknown ID alone")
    with SiteAccess(settings, warn) as site:
        answer = site.call("forget_stranger", id=arguments.unknown)
    return _report(answer, settings, arguments, "{unknown}: {photos} pictures, {sightings} sightings")


def _report(answer: dict[str, Any], settings: Settings, arguments: argparse.Namespace, line: str) -> int:
    """Say what was removed; `line` names the answer's fields. The exit code."""
    answer.pop("v", None)
    if "warning" in answer:
        warn(answer["warning"])
    if arguments.json:
        say_json(answer)
        return EXIT_DONE
    say(f"forgot {line.format_map(answer)} removed")
    for copy in answer["other_copies"]:
        say(
            f"not changed: {settings.data_dir / copy} was set aside before and may still hold this person; delete it when you no longer need it"
        )
    return EXIT_DONE


def _stored_name(site: Site, name: str) -> str:
    """The name as it is stored: an adopted database can hold names that nobody could be enrolled under today."""
    if next(all_references(site, name), None) is not None:
        return name
    return person_name(name)
