"""`calibrate`: shows the limits in force and those of another risk, measured on the site's own gallery, and lists photos to check.

Only with --write does it change site.toml.
"""

from __future__ import annotations

import argparse
import os
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from shared.errors import EXIT_DONE, ConfigurationError, RefusedError, disk_fault
from shared.gallery.tail import tail_of
from shared.progress import progress_bar, progress_lines
from shared.service.access import GalleryClient, SiteAccess
from shared.settings.editing import replace_file, with_values
from shared.settings.schema import LEAST_STRANGERS_NAMED, MOST_STRANGERS_NAMED, Settings
from shared.settings.text import read_text
from workers.calibration.calibration import MAX_PROBES, Calibration, calibrate
from workers.calibration.gallery_copy import References, load_references
from workers.calibration.plot import svg
from workers.calibration.report import Names, document, rows_named, text
from workers.commands.context import Context
from workers.commands.output import counted, say, say_json, warn
from workers.photos.same_model import require_same_model
from workers.recognition.working_point import limits

HELP = "what the limits in force name, from the gallery's own photos, and which of them to look at"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--fmr", type=_rate, metavar="RATE", help="share of strangers that may be named (default: strangers_named)"
    )
    parser.add_argument("--plot", metavar="FILE", help="draw the scores into FILE, as SVG")
    parser.add_argument("--all", action="store_true", help="use every reference as a probe, however many")
    parser.add_argument("--apart", action="store_true", help="never take two names for one person")
    parser.add_argument("--progress", action="store_true", help="print the progress on standard error as lines of JSON")
    parser.add_argument("--write", action="store_true", help="put RATE into site.toml as strangers_named")


def _rate(text: str) -> float:
    value = float(text)
    if not LEAST_STRANGERS_NAMED <= value <= MOST_STRANGERS_NAMED:
        raise argparse.ArgumentTypeError(f"a rate must lie from {LEAST_STRANGERS_NAMED:g} to {MOST_STRANGERS_NAMED:g}")
    return value


def run(context: Context, arguments: argparse.Namespace) -> int:
    settings = context.settings
    recognition = settings.recognition
    engine = context.open_engine(threads=1)
    wanted = recognition.strangers_named if arguments.fmr is None else arguments.fmr
    with SiteAccess(settings, warn) as gallery:
        require_same_model(gallery, engine, settings)
        references = load_references(gallery, warn)
        if not len(references.persons):
            raise RefusedError(
                "nobody is enrolled", where=str(settings.db_path), remedy="enrol somebody: supervisor.py enrol FOLDER"
            )
    # The files are not locked meanwhile: comparing a large gallery takes a minute, and a site may want to start.
    most = None if arguments.all else MAX_PROBES
    tail = tail_of(references.vectors, references.persons, references.row_ids)
    now = limits(engine, tail, recognition.strangers_named, recognition.threshold, recognition.margin)
    with progress_bar("comparing") if not arguments.progress else nullcontext(progress_lines()) as progress:
        found = calibrate(references, engine, wanted, now, most_probes=most, apart=arguments.apart, progress=progress)
    with SiteAccess(settings, warn) as gallery:
        names = Names(references.persons, references.names, _photos(gallery, references, rows_named(found)))
        written_to = _write(settings, found) if arguments.write else None
        reloads = written_to is not None and gallery.reload()
    written = {
        "plot": _draw(arguments.plot, found, engine.model_id.label),
        "written": written_to,
    }
    if context.as_json:
        say_json({"model": engine.model_id.label, **document(found, names), **written})
    else:
        for line in text(found, names):
            say(line)
        _say_what_was_written(settings, written, reloads=reloads)
    return EXIT_DONE


def _photos(gallery: GalleryClient, references: References, rows: set[int]) -> dict[int, str | None]:
    """The stored path of each row's photo, relative to data_dir."""
    by_id = {int(references.row_ids[row]): row for row in rows}
    people = {references.names[int(references.persons[row])] for row in rows}
    listed = (one for person in sorted(people) for one in gallery.references(person))
    return {by_id[one.id]: one.image_path for one in listed if one.id in by_id}


def _draw(path: str | None, found: Calibration, model: str) -> str | None:
    """Draw the plot into `path`. Returns the absolute path, or None when no plot was asked for."""
    if path is None:
        return None
    target, scores = Path(path).expanduser().absolute(), found.scores
    picture = svg(
        scores.own[scores.genuine],
        scores.first[scores.strangers],
        now=found.now.point.threshold,
        proposed=found.proposal.point.threshold,
        title=f"{counted(found.references, 'reference')} of {counted(found.people, 'person', 'people')}, {model}",
    )
    try:
        target.write_text(picture, encoding="utf-8")
    except OSError as error:
        raise disk_fault(error, target) from error
    return str(target)


def _write(settings: Settings, found: Calibration) -> str:
    """Put the wanted share into site.toml. Returns the file's path.

    Raises ConfigurationError when there is no file, or when the file would not load afterwards.
    """
    if settings.path is None:
        raise ConfigurationError(
            "there is no site.toml to write into", where="calibrate --write", remedy="type: python supervisor.py init"
        )
    before = read_text(settings.path)
    values = {"strangers_named": found.wanted}
    replace_file(settings.path, with_values(before, "recognition", values, settings.path))
    return os.fspath(settings.path)


def _say_what_was_written(settings: Settings, written: dict[str, Any], *, reloads: bool) -> None:
    if written["plot"]:
        say(f"plot: {written['plot']}")
    own = [name for name, one in settings.cameras.items() if one.threshold is not None]
    if settings.recognition.threshold is not None:
        own = ["[recognition]", *own]
    if not written["written"]:
        say("nothing was changed; for another risk: python supervisor.py calibrate --fmr RATE --write")
        return
    say(f"written to [recognition] in {written['written']}" + ("; the site takes it over now" if reloads else ""))
    if own:
        say(f"a threshold set by hand still wins: {', '.join(own)}")
