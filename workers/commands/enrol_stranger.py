"""`enrol --unknown ID --name NAME`: a stranger's pictures become a person's photos, and their sightings that person's."""

from __future__ import annotations

import argparse

from shared.errors import EXIT_DONE, RefusedError, UsageError
from shared.process.machine import usable_cpus
from shared.service.access import SiteAccess
from shared.settings.schema import Settings
from workers.commands.output import say, say_json, warn
from workers.models.packs import ensure_pack
from workers.photos.embedding import Found, person_name
from workers.photos.enrolling import enrol_photos
from workers.photos.look_alikes import remark_lines
from workers.photos.same_model import require_same_model
from workers.recognition.engine import open_engine


def enrol_stranger(arguments: argparse.Namespace, settings: Settings) -> int:
    """Enrol, and only then let go of the stranger. Raises RefusedError, nothing removed, when no picture gives a reference."""
    if not arguments.name:
        raise UsageError("a stranger is enrolled under a name", expected="--unknown ID --name NAME")
    person = person_name(arguments.name)
    with SiteAccess(settings, warn) as site:
        (stranger,) = site.call("strangers", id=arguments.unknown)["strangers"]
        pairs = [(person, settings.data_dir / photo) for photo in stranger["photos"]]
        ensure_pack(settings)
        engine = open_engine(settings, det_size=settings.recognition.det_size, threads=usable_cpus())
        require_same_model(site, engine, settings, assume=arguments.assume_model)
        report = enrol_photos(Found(pairs), site, engine, settings, user_id=arguments.user_id)
        if not (report.enrolled or report.unchanged):
            raise RefusedError(
                f"none of {stranger['id']}'s pictures gives a reference, and nothing was changed",
                where=str(settings.data_dir),
                got="; ".join(one["reason"] for one in report.refused) or "no pictures",
                remedy=f"wait for better ones, or enrol {person} from a photo",
            )
        named = site.call("name_stranger", id=stranger["id"], person=person)
    report.warnings |= {named["warning"]} if "warning" in named else set()
    for warning in sorted(report.warnings):
        warn(warning)
    if arguments.json:
        say_json({**report.to_json(), "unknown": stranger["id"], "sightings": named["sightings"]})
        return EXIT_DONE
    for refused in report.refused:
        warn(f"refused {refused['photo']}: {refused['reason']}")
    for line in remark_lines(report.look_alikes, report.disagrees, 2 * len(pairs)):
        warn(line)
    say(
        f"{stranger['id']} is {person} now: {len(report.enrolled)} of {len(pairs)} pictures enrolled, {named['sightings']} sightings"
    )
    return EXIT_DONE
