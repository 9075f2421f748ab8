"""`identify`: prints who is in some photos."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager

from shared.errors import EXIT_DONE, EXIT_REFUSED
from shared.gallery.match import Gallery
from shared.process.machine import usable_cpus
from shared.service.access import SiteAccess
from shared.settings.schema import Settings
from workers.commands.context import Context, add_assume_model
from workers.commands.output import say, say_json, warn
from workers.photos.identify import IdentifiedPhoto, identify_photo
from workers.photos.pool import PhotoReader
from workers.photos.same_model import require_same_model
from workers.recognition.engine import Engine
from workers.recognition.working_point import limits

HELP = "who is in these photos"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("photos", nargs="+", metavar="PHOTO")
    add_assume_model(parser)


def run(context: Context, arguments: argparse.Namespace) -> int:
    settings = context.settings
    recognition = settings.recognition
    engine = context.open_engine(threads=usable_cpus())
    with _gallery(settings, engine, assume=arguments.assume_model) as gallery, PhotoReader() as reader:
        in_force = limits(engine, gallery.tail, recognition.strangers_named, recognition.threshold, recognition.margin)
        answers = [
            identify_photo(
                photo, engine, gallery, in_force, min_face_px=recognition.min_face_px, read=reader.read_scaled
            )
            for photo in arguments.photos
        ]
    if context.as_json:
        say_json({"photos": [answer.to_json() for answer in answers]})
    else:
        for answer in answers:
            _show(answer)
    return EXIT_REFUSED if any(answer.error for answer in answers) else EXIT_DONE


@contextmanager
def _gallery(settings: Settings, engine: Engine, *, assume: bool) -> Iterator[Gallery]:
    """The gallery to search: a running site's shared block, otherwise the database, loaded into our own memory."""
    with SiteAccess(settings, warn, create=True, read_only_ok=True) as client:
        require_same_model(client, engine, settings, assume=assume)
        with client.matching(warn) as gallery:
            yield gallery


def _show(photo: IdentifiedPhoto) -> None:
    if photo.error:
        warn(f"{photo.path}: {photo.error}")
        return
    if not photo.faces:
        say(f"{photo.path}: no face")
    for face in photo.faces:
        x1, y1, x2, y2 = (round(side) for side in face.box)
        word, person, score, margin, confidence = face.verdict
        behind = "" if score is None else f", score {score:.2f}"
        behind += "" if margin is None else f", margin {margin:.2f}"
        behind += "" if confidence is None else f", confidence {confidence:.4f}"
        say(f"{photo.path}: {person or word} at {x1},{y1}-{x2},{y2}{behind}")
