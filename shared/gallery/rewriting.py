"""Overwrites parts of a published generation: dead rows, and texts that are not needed any more.

The caller decides when this is safe: rules 5 and 6 of gallery/block.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.gallery.block import text_span
from shared.gallery.segment import Segment

_ROWS_AT_ONCE = 4096
# `scales` comes last: if the writer dies while it wipes a row, the scale is not 0 yet, and the row is wiped again.
_OF_REFERENCES = ("codes", "errors", "references", "row_ids", "scales")


class Moves(NamedTuple):
    """Live row `sources[i]` moves to the place of dead row `targets[i]`. `live`: how many rows there are in the end."""

    live: int
    sources: NDArray[np.intp]
    targets: NDArray[np.intp]


def moves(persons: NDArray[np.int32]) -> Moves:
    """The fewest moves after which all live rows come before all dead ones. `persons` (rows,): that section's published part."""
    live = np.flatnonzero(persons >= 0)
    targets = np.flatnonzero(persons[: len(live)] < 0)
    return Moves(len(live), live[len(live) - len(targets) :], targets)


def copy_rows(segment: Segment, move: Moves, progress: Callable[[], None]) -> None:
    """Copy everything of the rows that move, except `persons`: so the copies stay dead until the caller makes them live."""
    for start in range(0, len(move.sources), _ROWS_AT_ONCE):
        progress()
        part = slice(start, start + _ROWS_AT_ONCE)
        for section in _OF_REFERENCES:
            values = getattr(segment, section)
            values[move.targets[part]] = values[move.sources[part]]


def wipe_rows(segment: Segment, rows: NDArray[np.intp], progress: Callable[[], None]) -> None:
    """Overwrite everything in dead rows with zeros."""
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        progress()
        part = rows[start : start + _ROWS_AT_ONCE]
        for section in _OF_REFERENCES:
            getattr(segment, section)[part] = 0


def unwiped(segment: Segment, rows: int) -> NDArray[np.intp]:
    """The indices of the dead rows among the first `rows` that were not wiped yet."""
    return np.flatnonzero((segment.persons[:rows] < 0) & (segment.scales[:rows] != 0))


def wipe_texts(segment: Segment, gone: NDArray[np.intp], given_up: Iterable[int]) -> None:
    """Overwrite the names and user ids of the people with the indices `gone`, and the texts of the entries `given_up`, with zeros."""
    entries = [*segment.names[gone].tolist(), *segment.user_ids[gone].tolist(), *given_up]
    segment.names[gone] = 0
    segment.user_ids[gone] = 0
    for entry in entries:
        segment.heap[text_span(entry)] = 0
