"""What of a published generation is overwritten: dead rows, and texts that nobody needs; rule 5 of gallery/block.py says when."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.gallery.block import text_span
from shared.gallery.segment import Segment

_ROWS_AT_ONCE = 4096
# `scales` last: a row whose scale is not 0 yet is wiped again.
_OF_REFERENCES = ("codes", "errors", "references", "row_ids", "scales")


class Moves(NamedTuple):
    """Row `sources[i]`, alive, goes to where row `targets[i]` was, dead. `live`: how many rows there are then."""

    live: int
    sources: NDArray[np.intp]
    targets: NDArray[np.intp]


def moves(persons: NDArray[np.int32]) -> Moves:
    """The fewest moves after which all live rows come before all dead ones. `persons` (rows,): the published ones."""
    live = np.flatnonzero(persons >= 0)
    targets = np.flatnonzero(persons[: len(live)] < 0)
    return Moves(len(live), live[len(live) - len(targets) :], targets)


def copy_rows(segment: Segment, move: Moves, progress: Callable[[], None]) -> None:
    """Everything of the rows that move, but whose they are: the copies are dead until that is told."""
    for start in range(0, len(move.sources), _ROWS_AT_ONCE):
        progress()
        part = slice(start, start + _ROWS_AT_ONCE)
        for section in _OF_REFERENCES:
            values = getattr(segment, section)
            values[move.targets[part]] = values[move.sources[part]]


def wipe_rows(segment: Segment, rows: NDArray[np.intp], progress: Callable[[], None]) -> None:
    """Leave nothing of what dead rows held."""
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        progress()
        part = rows[start : start + _ROWS_AT_ONCE]
        for section in _OF_REFERENCES:
            getattr(segment, section)[part] = 0


def unwiped(segment: Segment, rows: int) -> NDArray[np.intp]:
    """Those of `rows` published rows that are dead and still hold something."""
    return np.flatnonzero((segment.persons[:rows] < 0) & (segment.scales[:rows] != 0))


def wipe_texts(segment: Segment, gone: NDArray[np.intp], given_up: Iterable[int]) -> None:
    """Leave nothing of the names and user ids of the people `gone`, nor of the entries that were `given_up` by others."""
    entries = [*segment.names[gone].tolist(), *segment.user_ids[gone].tolist(), *given_up]
    segment.names[gone] = 0
    segment.user_ids[gone] = 0
    for entry in entries:
        segment.heap[text_span(entry)] = 0
