"""Whose turn it is: the requests that wait, in the order in which they came. Pure: no thread, no clock, no memory.

A camera has at most one request, and asks again only after its answer. So in the order of arrival all take turns: before a request, at most
one of each other camera is served. Crops are the exception: those of all cameras that wait for embeddings of one model go as one batch,
since an accelerator takes hardly longer for many crops than for one. Nobody is served later by that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

_Camera = TypeVar("_Camera")


@dataclass(frozen=True)
class Turn(Generic[_Camera]):
    """One request that waits. `camera`: whose it is. `batch`: requests with the same value may be served together; None: it is served alone.
    `crops`: how many it has. `came_at`: when it came, seconds."""

    camera: _Camera
    batch: Hashable | None = None
    crops: int = 0
    came_at: float = 0.0


class Turns(Generic[_Camera]):
    """`most_crops`: in one batch. A single request may have more."""

    def __init__(self, most_crops: int) -> None:
        self._most_crops = most_crops
        self._waiting: deque[Turn[_Camera]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, turn: Turn[_Camera]) -> None:
        """Raises ValueError if a request of the same camera waits already."""
        if any(other.camera == turn.camera for other in self._waiting):
            raise ValueError("a second request of one camera")
        self._waiting.append(turn)

    def take(self) -> list[Turn[_Camera]]:
        """What is served next: one request, or a batch; empty if none waits."""
        if not self._waiting:
            return []
        taken = [self._waiting.popleft()]
        batch, crops = taken[0].batch, taken[0].crops
        if batch is None:
            return taken
        left: deque[Turn[_Camera]] = deque()
        for turn in self._waiting:
            if turn.batch == batch and crops + turn.crops <= self._most_crops:
                taken.append(turn)
                crops += turn.crops
            else:
                left.append(turn)
        self._waiting = left
        return taken

    def drop(self, camera: _Camera) -> None:
        """The camera is gone."""
        self._waiting = deque(turn for turn in self._waiting if turn.camera != camera)
