"""`enrol`: puts photos, or a stranger's pictures, into the gallery, and names each photo that is refused."""

from __future__ import annotations

import argparse

from shared.errors import EXIT_DONE, EXIT_REFUSED, UsageError
from shared.files.private_folder import require_own
from shared.photos.reading import shown
from shared.process.machine import usable_cpus
from shared.progress import progress_bar
from shared.service.access import SiteAccess
from workers.commands.context import Context, add_assume_model
from workers.commands.output import counted, say, say_json, warn
from workers.photos.enrolling import enrol_photos, require_somebody, set_aside_lines, skipped_line
from workers.photos.look_alikes import remark_lines
from workers.photos.naming import people_in, person_name
from workers.photos.naming_strangers import enrol_stranger
from workers.photos.same_model import require_same_model

_MAX_REMARKS = 20
HELP = "enrol a photo, or a folder with a sub-folder per person"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="*", metavar="PATH")
    parser.add_argument("--name", help="the person on these photos; default: named after file or sub-folder")
    parser.add_argument("--unknown", metavar="ID", help="instead of PATH: enrol this stranger's pictures, with --name")
    parser.add_argument("--user-id", help="the person's id in your own systems")
    add_assume_model(parser)


def run(context: Context, arguments: argparse.Namespace) -> int:
    settings = context.settings
    if bool(arguments.paths) == (arguments.unknown is not None):
        raise UsageError("enrol whom?", expected="PATH..., or --unknown ID --name NAME")
    require_own(settings.data_dir)
    if arguments.unknown is not None:
        return _enrol_stranger(context, arguments)
    found = people_in(arguments.paths, arguments.name)
    require_somebody(found, " ".join(map(shown, arguments.paths)))
    engine = context.open_engine(threads=usable_cpus())
    with SiteAccess(settings, warn, create=True) as gallery, progress_bar("enrolling") as progress:
        require_same_model(gallery, engine, settings, assume=arguments.assume_model)
        report = enrol_photos(found, gallery, engine, settings, user_id=arguments.user_id, progress=progress)
    for warning in sorted(report.warnings):
        warn(warning)
    if context.as_json:
        say_json(report.to_json())
    else:
        for refused in report.refused:
            warn(f"refused {refused['photo']}: {refused['reason']}")
        if found.skipped:
            warn(skipped_line(found.skipped))
        for line in set_aside_lines(report.set_aside, _MAX_REMARKS):
            warn(line)
        for line in remark_lines(report.look_alikes, report.disagrees, _MAX_REMARKS):
            warn(line)
        people = counted(len({one["person"] for one in report.enrolled}), "person", "people")
        enrolled = f"enrolled {counted(len(report.enrolled), 'photo')} of {people}"
        say(f"{enrolled}; {len(report.refused)} refused, {report.unchanged} unchanged")
    return EXIT_REFUSED if report.refused else EXIT_DONE


def _enrol_stranger(context: Context, arguments: argparse.Namespace) -> int:
    """Turn a stranger into a person, see `enrol_stranger`."""
    if not arguments.name:
        raise UsageError("a stranger is enrolled under a name", expected="--unknown ID --name NAME")
    settings = context.settings
    person = person_name(arguments.name)
    with SiteAccess(settings, warn) as gallery:
        stranger = gallery.stranger(arguments.unknown)
        engine = context.open_engine(threads=usable_cpus())
        require_same_model(gallery, engine, settings, assume=arguments.assume_model)
        report, named = enrol_stranger(stranger, person, gallery, engine, settings, user_id=arguments.user_id)
    for warning in sorted(report.warnings):
        warn(warning)
    if context.as_json:
        say_json({**report.to_json(), "unknown": stranger.id, "sightings": named.sightings})
        return EXIT_DONE
    for refused in report.refused:
        warn(f"refused {refused['photo']}: {refused['reason']}")
    for line in set_aside_lines(report.set_aside, _MAX_REMARKS):
        warn(line)
    for line in remark_lines(report.look_alikes, report.disagrees, 2 * len(stranger.photos)):
        warn(line)
    enrolled = f"{len(report.enrolled)} of {counted(len(stranger.photos), 'picture')} enrolled"
    say(f"{stranger.id} is {person} now: {enrolled}, {counted(named.sightings, 'sighting')}")
    return EXIT_DONE
