"""Remarks on photos that were just enrolled: a photo that looks like another person, or not like its own person's others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.errors import RefusedError, Say
from shared.service.access import GalleryClient
from shared.settings.schema import Settings
from workers.calibration.neighbours import Neighbours, copy_from, disagreeing, unlike_below
from workers.recognition.engine import Engine

MAX_COMPARED = 20_000  # new references: with 512 dimensions 40 MB, and half a minute against a gallery of 100,000


@dataclass(frozen=True)
class LookAlike:
    """A photo that looks like somebody else who is enrolled: `score` is its cosine to that person."""

    person: str
    photo: str
    looks_like: str
    score: float


@dataclass(frozen=True)
class Disagreement:
    """A photo that is unlike its person's other photos: `score` is its cosine to the nearest of them."""

    person: str
    photo: str
    score: float


@dataclass
class NewReferences:
    """The references that an enrolment has saved, collected for `remarks_on`: at most MAX_COMPARED; `beyond` counts the rest."""

    persons: list[str] = field(default_factory=list)
    photos: list[Path] = field(default_factory=list)
    row_ids: list[int] = field(default_factory=list)
    embeddings: list[NDArray[np.float32]] = field(default_factory=list)
    beyond: int = 0

    def add(self, person: str, photo: Path, row_id: int, embedding: NDArray[np.float32]) -> None:
        if len(self.persons) == MAX_COMPARED:
            self.beyond += 1
            return
        self.persons.append(person)
        self.photos.append(photo)
        self.row_ids.append(row_id)
        self.embeddings.append(embedding)


def remarks_on(
    new: NewReferences, gallery: GalleryClient, settings: Settings, engine: Engine, say: Say
) -> tuple[list[LookAlike], list[Disagreement]]:
    """(look-alikes, disagreements), each in the order of `new`. Compares each new reference with the gallery and the other new ones.

    A look-alike is a photo whose score with another person reaches the threshold set by hand, or else the model's own. A photo
    disagrees when its person has at least two other photos and it is unlike all of them. Raises RefusedError when the gallery's model was switched
    meanwhile.
    """
    if not new.persons:
        return [], []
    names: dict[str, int] = {}
    persons = np.array([names.setdefault(name, len(names)) for name in new.persons], np.int32)
    probes = np.stack(new.embeddings)
    found = Neighbours(probes, persons, copy_from(engine.threshold))
    found.compare(probes, persons, 0)
    own_rows = np.array(new.row_ids)
    with gallery.batches(say) as pieces:
        for piece in pieces:
            if piece.references.shape[1] != probes.shape[1]:
                raise RefusedError("the gallery's model was switched meanwhile", remedy="see: supervisor.py calibrate")
            others = np.array([names.setdefault(name, len(names)) for name in piece.names], np.int32)
            others[np.isin(piece.row_ids, own_rows)] = -1  # the new references: compared already, above
            found.compare(piece.references, others, 0)
    known = list(names)
    by_hand = settings.recognition.threshold
    threshold = engine.threshold if by_hand is None else by_hand
    look_alikes = [
        LookAlike(
            new.persons[i],
            str(new.photos[i]),
            known[int(found.first.persons[i])],
            _score(found.first.scores[i]),
        )
        for i in np.flatnonzero(found.first.scores >= threshold).tolist()
    ]
    strange = disagreeing(found, unlike_below(engine.threshold, engine.margin), threshold)
    disagreements = [
        Disagreement(new.persons[i], str(new.photos[i]), _score(found.own.scores[i])) for i in strange.tolist()
    ]
    return look_alikes, disagreements


def remark_lines(look_alikes: Sequence[LookAlike], disagreements: Sequence[Disagreement], most: int) -> list[str]:
    """Both kinds as lines of text: the first `most`, then one line with the number of the others."""
    lines = [
        f"{one.photo} of {one.person} is not like {one.person}'s other photos ({one.score:.2f}): "
        "if it shows somebody else, forget that photo or set it aside"
        for one in disagreements
    ]
    lines += [f"{one.photo} of {one.person} looks like {one.looks_like} ({one.score:.2f})" for one in look_alikes]
    if len(lines) > most:
        left = len(lines) - most
        return [
            *lines[:most],
            f"and {left} more such remarks; for all of them: enrol --json, or supervisor.py calibrate",
        ]
    return lines


def _score(score: np.float32) -> float:
    return round(float(score), 4)
