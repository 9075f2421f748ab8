"""`enrol`: photos into the gallery; each refusal is named."""

from __future__ import annotations

import argparse

from shared.errors import EXIT_DONE, EXIT_REFUSED, UsageError
from shared.photos.reading import shown
from shared.process.machine import usable_cpus
from shared.progress import progress_bar
from shared.service.access import SiteAccess
from shared.settings.schema import find_config, load_settings
from shared.store.opening import require_own
from workers.commands.enrol_stranger import enrol_stranger
from workers.commands.output import say, say_json, warn
from workers.models.packs import ensure_pack
from workers.photos.embedding import people_in
from workers.photos.enrolling import enrol_photos, require_somebody, skipped_line
from workers.photos.look_alikes import remark_lines
from workers.photos.same_model import require_same_model
from workers.recognition.engine import open_engine

_MOST_REMARKS = 20


def run(arguments: argparse.Namespace) -> int:
    settings = load_settings(find_config(arguments.config, arguments.beside))
    if bool(arguments.paths) == (arguments.unknown is not None):
        raise UsageError("enrol whom?", expected="PATH..., or --unknown ID --name NAME")
    require_own(settings.data_dir)
    if arguments.unknown is not None:
        return enrol_stranger(arguments, settings)
    found = people_in(arguments.paths, arguments.name)
    require_somebody(found, " ".join(map(shown, arguments.paths)))
    ensure_pack(settings)
    engine = open_engine(settings, det_size=settings.recognition.det_size, threads=usable_cpus())
    with SiteAccess(settings, warn, create=True) as site, progress_bar("enrolling") as progress:
        require_same_model(site, engine, settings, assume=arguments.assume_model)
        report = enrol_photos(found, site, engine, settings, user_id=arguments.user_id, progress=progress)
    for warning in sorted(report.warnings):
        warn(warning)
    if arguments.json:
        say_json(report.to_json())
    else:
        for refused in report.refused:
            warn(f"refused {refused['photo']}: {refused['reason']}")
        if found.skipped:
            warn(skipped_line(found.skipped))
        for line in remark_lines(report.look_alikes, report.disagrees, _MOST_REMARKS):
            warn(line)
        people = len({one["person"] for one in report.enrolled})
        say(
            f"enrolled {len(report.enrolled)} photos of {people} people; {len(report.refused)} refused, {report.unchanged} unchanged"
        )
    return EXIT_REFUSED if report.refused else EXIT_DONE
