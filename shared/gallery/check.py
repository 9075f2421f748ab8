"""Checks that a generation of the gallery block is sound. It reads nothing but the generation itself."""

from __future__ import annotations

import numpy as np

from shared.gallery.segment import Segment
from shared.gallery.tail import Sample, Tail
from shared.process.work_progress import beat

PIECE_ROWS = 16384  # checked at once: 40 MiB with 512 dimensions


def check_segment(segment: Segment, rows: int) -> list[str]:
    """What is unsound in the first `rows` rows: norms, codes, persons, names. One line for each fault; empty if all is sound.

    The caller sees to it that nothing changes the rows meanwhile.
    """
    faults = []
    for start in range(0, rows, PIECE_ROWS):
        beat()
        faults += check_rows(segment, start, min(start + PIECE_ROWS, rows))
    return faults + check_people(segment, rows)


def check_tail(published: Tail, sample: Sample) -> list[str]:
    """Where the published tail is not what the gallery's sample gives when it is counted anew; one line for each figure."""
    figures = zip(Tail._fields, published, sample.tail, strict=True)
    return [
        f"block: tail: {name} {got:g}, counted anew {expected:g}" for name, got, expected in figures if got != expected
    ]


def check_rows(segment: Segment, start: int, stop: int) -> list[str]:
    """What is unsound in the rows `start` to `stop` (exclusive), each for itself; one line for each fault."""
    faults: list[str] = []
    live = start + np.flatnonzero(segment.persons[start:stop] >= 0)
    references = segment.references[live]
    norms = np.linalg.norm(references, axis=1)
    faults += [
        f"block: row {row}: norm {norm:.6f}"
        for row, norm in zip(live, norms, strict=True)
        if not abs(norm - 1) <= 1e-3  # written so that NaN is a fault, too
    ]
    rest = np.linalg.norm(references - segment.codes[live] * segment.scales[live, None], axis=1)
    faults += [f"block: row {row}: codes are of another vector" for row in live[rest > segment.errors[live] + 1e-5]]
    wiped = start + np.flatnonzero(segment.scales[start:stop] == 0)
    faults += [f"block: row {row}: wiped, and live" for row in wiped[segment.persons[wiped] >= 0]]
    left = segment.references[wiped].any(axis=1) | segment.codes[wiped].any(axis=1)
    return faults + [f"block: row {row}: wiped, and not empty" for row in wiped[left]]


def check_people(segment: Segment, rows: int) -> list[str]:
    """What is unsound between rows: a reference that is published twice, a person without a name. One line for each fault."""
    live = np.flatnonzero(segment.persons[:rows] >= 0)
    ids = segment.row_ids[live]
    faults = ["block: a reference is published twice"] if len(np.unique(ids)) != len(ids) else []
    return faults + [
        f"block: person {index} has no name" for index in np.unique(segment.persons[live]) if not segment.names[index]
    ]
