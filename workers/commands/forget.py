"""`forget`: a person, or one photo of theirs, out of rows, WAL, block, photos, sightings and backup."""

from __future__ import annotations

import argparse

from shared.errors import EXIT_DONE
from shared.settings import find_config, load_settings
from shared.site_access import SiteAccess
from workers.enrolment import person_name
from workers.output import say, say_json, warn


def run(arguments: argparse.Namespace) -> int:
    settings = load_settings(find_config(arguments.config, arguments.beside))
    with SiteAccess(settings, warn) as site:
        answer = site.call("forget", person=person_name(arguments.name), photo=arguments.photo)
    answer.pop("v", None)
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
