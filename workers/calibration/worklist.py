"""What is worth a look in a gallery: two people who look like one, photos that disagree with their person, people with one picture only, people who
are shown from one side only.

Arrays in, references by their ids out. What looks like one person, what disagrees and what is a copy is decided as `calibrate` decides it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from shared.ipc.requests.references import OneSidedPerson
from shared.progress import Progress
from workers.calibration.calibration import LookedThrough, look_through, one_person_pairs
from workers.calibration.gallery_copy import References
from workers.calibration.neighbours import alike_pairs
from workers.recognition.working_point import ModelPoint

MAX_LISTED = 100  # of each kind


@dataclass(frozen=True)
class AlikePair:
    """Two people who look like one. `references`: the ids of their most similar references; `score`: the cosine of these."""

    references: tuple[int, int]
    score: float


@dataclass(frozen=True)
class OddReference:
    """A reference that disagrees with its person. `nearest`: the most similar other one of that person, with the cosine `score`; `other`: the
    most similar one of anybody else, with `other_score`; None: there is nobody else. All by their ids."""

    reference: int
    nearest: int
    score: float
    other: int | None
    other_score: float | None


@dataclass(frozen=True)
class SinglePicture:
    """A person with one picture only, by the id of the newest reference. `copies`: how many references show that picture."""

    reference: int
    copies: int


@dataclass(frozen=True)
class Worklist:
    """`pairs`: the closest first; `odd`: the worst first; `right`: the ids of references that would be odd, had not somebody said that they are
    right; `single`: people with one picture only, or copies of one, the newest first;
    `one_sided`: people whose photos all show the same side, the newest first.

    At most MAX_LISTED of each; `odd_found`, `single_found`, `one_sided_found`: how many there are in all; `more_pairs`: whether there can be
    more pairs.
    `compared`: how many of the `references` were searched.
    """

    references: int
    compared: int
    pairs: list[AlikePair]
    more_pairs: bool
    odd: list[OddReference]
    odd_found: int
    right: list[int]
    single: list[SinglePicture]
    single_found: int
    one_sided: list[OneSidedPerson]
    one_sided_found: int


def worklist(
    references: References,
    model: ModelPoint,
    most_probes: int | None,
    progress: Progress | None = None,
    one_sided: Sequence[OneSidedPerson] = (),
) -> Worklist:
    """Look through a gallery. `most_probes`: of a larger gallery a random sample of so many references is searched, always the same; None: all.
    Pairs that are known to be different are left out. `progress`: called with (rows compared, rows in all). `one_sided`: people whose
    photos all show the same side, as the store knows them."""
    looked = look_through(references, model, most_probes, progress)
    persons = references.persons[looked.probes]
    pairs = alike_pairs(looked.found, persons, looked.probes, MAX_LISTED, references.different)
    odd = sorted(looked.strange.tolist(), key=lambda probe: float(looked.found.own.scores[probe]))
    single = _single(references, looked)
    return Worklist(
        references=len(references.persons),
        compared=len(looked.probes),
        pairs=[
            AlikePair((_id(references, pair.rows[0]), _id(references, pair.rows[1])), round(pair.score, 4))
            for pair in one_person_pairs(references, pairs, looked, model)
        ],
        more_pairs=len(pairs) == MAX_LISTED,
        odd=[_odd(references, looked, probe) for probe in odd[:MAX_LISTED]],
        odd_found=len(odd),
        right=[_id(references, int(row)) for row in looked.probes[looked.right[:MAX_LISTED]]],
        single=single[:MAX_LISTED],
        single_found=len(single),
        one_sided=list(one_sided[:MAX_LISTED]),
        one_sided_found=len(one_sided),
    )


def _single(references: References, looked: LookedThrough) -> list[SinglePicture]:
    """People with one picture, the newest first. A probe that has no other reference than copies of it shows that."""
    alone = np.unique(references.persons[looked.probes[looked.found.own_count == 0]])
    counts = np.bincount(references.persons) if len(references.persons) else np.zeros(0, np.int64)
    people = np.union1d(alone, np.flatnonzero(counts == 1))
    newest = np.full(len(counts), -(1 << 62), np.int64)
    np.maximum.at(newest, references.persons, references.row_ids)
    single = [SinglePicture(int(newest[person]), int(counts[person])) for person in people.tolist()]
    return sorted(single, key=lambda one: one.reference, reverse=True)


def _odd(references: References, looked: LookedThrough, probe: int) -> OddReference:
    own, first = looked.found.own, looked.found.first
    is_alone = int(first.persons[probe]) < 0
    return OddReference(
        reference=_id(references, int(looked.probes[probe])),
        nearest=_id(references, int(own.rows[probe])),
        score=round(float(own.scores[probe]), 4),
        other=None if is_alone else _id(references, int(first.rows[probe])),
        other_score=None if is_alone else round(float(first.scores[probe]), 4),
    )


def _id(references: References, row: int) -> int:
    return int(references.row_ids[row])
