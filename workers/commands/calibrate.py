"""`calibrate`: proposes a threshold and a margin from the site's own gallery, and lists photos that should be checked.

Only with --write does it change site.toml.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from shared.errors import EXIT_DONE, ConfigurationError, RefusedError, disk_fault
from shared.progress import progress_bar
from shared.service.access import GalleryClient, SiteAccess
from shared.settings.editing import replace_file, with_values
from shared.settings.schema import Settings
from shared.settings.text import read_text
from workers.calibration.calibration import MAX_PROBES, Calibration, calibrate
from workers.calibration.gallery_copy import References, load_references
from workers.calibration.plot import svg
from workers.calibration.report import Names, document, rows_named, text
from workers.commands.context import Context
from workers.commands.output import say, say_json, warn
from workers.photos.same_model import require_same_model
from workers.recognition.working_point import WorkingPoint, working_point

HELP = "threshold and margin from the gallery's own photos, and which of them to look at"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--fmr", type=_rate, default=0.001, metavar="RATE", help="share of strangers that may be named (0.001)"
    )
    parser.add_argument("--plot", metavar="FILE", help="draw the scores into FILE, as SVG")
    parser.add_argument("--all", action="store_true", help="use every reference as a probe, however many")
    parser.add_argument("--apart", action="store_true", help="never take two names for one person")
    parser.add_argument("--write", action="store_true", help="put threshold and margin into site.toml")


def _rate(text: str) -> float:
    value = float(text)
    if not 1e-9 <= value <= 0.5:
        raise argparse.ArgumentTypeError("a rate must lie between 1e-9 and 0.5")
    return value


def run(context: Context, arguments: argparse.Namespace) -> int:
    settings = context.settings
    recognition = settings.recognition
    engine = context.open_engine(threads=1)
    default = WorkingPoint(engine.threshold, engine.margin)
    now = working_point(engine, recognition.threshold, recognition.margin)
    with SiteAccess(settings, warn) as gallery:
        require_same_model(gallery, engine, settings)
        references = load_references(gallery, warn)
        if not len(references.persons):
            raise RefusedError(
                "nobody is enrolled", where=str(settings.db_path), remedy="enrol somebody: supervisor.py enrol FOLDER"
            )
    # The files are not locked meanwhile: comparing a large gallery takes a minute, and a site may want to start.
    most = None if arguments.all else MAX_PROBES
    with progress_bar("comparing") as progress:
        found = calibrate(
            references, default, now, arguments.fmr, most_probes=most, apart=arguments.apart, progress=progress
        )
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
        now=found.now.threshold,
        proposed=found.proposal.point.threshold,
        title=f"{found.references} references of {found.people} people, {model}",
    )
    try:
        target.write_text(picture, encoding="utf-8")
    except OSError as error:
        raise disk_fault(error, target) from error
    return str(target)


def _write(settings: Settings, found: Calibration) -> str:
    """Put the proposal into site.toml. Returns the file's path.

    Raises RefusedError when there are too few photos for a proposal; ConfigurationError when there is no file, or when the
    file would not load afterwards.
    """
    proposal = found.proposal
    if proposal.basis == "default":
        raise RefusedError(
            "the gallery has too few photos to calibrate with: nothing was written",
            where=str(settings.db_path),
            got=f"{int(found.scores.strangers.sum())} photos of {found.people} people that count",
            expected="50 photos of 10 people",
            remedy="enrol more, or set threshold and margin by hand",
        )
    if settings.path is None:
        raise ConfigurationError(
            "there is no site.toml to write into", where="calibrate --write", remedy="type: python supervisor.py init"
        )
    before = read_text(settings.path)
    values = {"threshold": proposal.point.threshold, "margin": proposal.point.margin}
    replace_file(settings.path, with_values(before, "recognition", values, settings.path))
    return os.fspath(settings.path)


def _say_what_was_written(settings: Settings, written: dict[str, Any], *, reloads: bool) -> None:
    if written["plot"]:
        say(f"plot: {written['plot']}")
    if not written["written"]:
        say("nothing was changed; to put them into site.toml: python supervisor.py calibrate --write")
        return
    say(f"written to [recognition] in {written['written']}" + ("; the site takes it over now" if reloads else ""))
    own = [name for name, one in settings.cameras.items() if one.threshold is not None or one.margin is not None]
    if own:
        say(f"cameras with settings of their own keep them: {', '.join(own)}")
