"""Turns a stranger into a person: the stranger's pictures are enrolled, and the sightings become that person's."""

from __future__ import annotations

from shared.errors import RefusedError
from shared.ipc.requests.strangers import StrangerNamed
from shared.records import Stranger
from shared.service.access import GalleryClient
from shared.settings.schema import Settings
from workers.photos.enrolling import EnrolmentReport, enrol_photos
from workers.photos.naming import Found
from workers.recognition.engine import Engine


def enrol_stranger(
    stranger: Stranger,
    person: str,
    gallery: GalleryClient,
    engine: Engine,
    settings: Settings,
    *,
    user_id: str | None = None,
) -> tuple[EnrolmentReport, StrangerNamed]:
    """Enrol a stranger's pictures as `person`, then give the sightings to them. The stranger is removed only after the pictures are enrolled.

    Raises RefusedError, with nothing removed, when no picture gives a reference.
    """
    pairs = [(person, settings.data_dir / photo) for photo in stranger.photos]
    report = enrol_photos(Found(pairs), gallery, engine, settings, user_id=user_id)
    if not (report.enrolled or report.unchanged):
        raise RefusedError(
            f"none of {stranger.id}'s pictures gives a reference, and nothing was changed",
            where=str(settings.data_dir),
            got="; ".join(one["reason"] for one in report.refused) or "no pictures",
            remedy=f"wait for better ones, or enrol {person} from a photo",
        )
    named = gallery.name_stranger(stranger.id, person)
    report.warnings |= {named.warning} if named.warning else set()
    return report, named
