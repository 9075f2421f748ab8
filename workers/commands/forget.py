"""`forget`: a person, or one photo of theirs, out of rows, WAL, block, photos, sightings and backup."""

from __future__ import annotations

import argparse
from pathlib import Path

from shared.errors import EXIT_DONE
from shared.settings import find_config, load_settings
from shared.site_access import Site, SiteAccess, all_references
from workers.enrolment import person_name
from workers.output import say, say_json, warn


def run(arguments: argparse.Namespace) -> int:
    settings = load_settings(find_config(arguments.config, arguments.beside))
    photo = arguments.photo
    if photo is not None and Path(photo).exists():
        photo = str(Path(photo).absolute())  # the site may be in another folder
    with SiteAccess(settings, warn) as site:
        answer = site.call("forget", person=_stored_name(site, arguments.name), photo=photo)
    answer.pop("v", None)
    if "warning" in answer:
        warn(answer["warning"])
    if arguments.json:
        say_json(answer)
        return EXIT_DONE
    say(
        f"forgot {answer['person']}: {answer['references']} references, {answer['photos']} photos, {answer['sightings']} sightings removed"
    )
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
