"""Traces: a stranger's crops as a camera sends them, and the search among all kept traces. No database and no file is used here."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.embeddings import cosines, unit_vector
from shared.events import Event

_MAX_TRACES = 3  # used of one event
_MAX_PHOTO_BYTES = 512 << 10  # a picture of a face with some room round it takes 10 to 50 KiB
_JPEG_START = b"\xff\xd8\xff"
_FIRST_ROOM = 256


@dataclass(frozen=True, eq=False)
class Trace:
    """One crop: its `embedding` (dim,) float32 of unit L2 norm, its `quality` 0 to 1, and `photo`: its picture with some room round
    it, as JPEG."""

    embedding: NDArray[np.float32]
    quality: float
    photo: bytes

    def to_json(self) -> dict[str, Any]:
        """The trace as a camera sends it. The embedding (little-endian float32) and the picture are encoded in base64."""
        return {
            "embedding": base64.b64encode(self.embedding.astype("<f4").tobytes()).decode(),
            "quality": round(self.quality, 4),
            "photo": base64.b64encode(self.photo).decode(),
        }

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Trace:
        """A trace from what a camera sent. Raises KeyError, TypeError, ValueError or RefusedError if it is malformed."""
        vector = np.frombuffer(base64.b64decode(given["embedding"], validate=True), "<f4").astype(np.float32)
        quality, photo = float(given["quality"]), base64.b64decode(given["photo"], validate=True)
        if not 0 <= quality <= 1:
            raise ValueError(f"quality {quality}")
        if not photo.startswith(_JPEG_START) or len(photo) > _MAX_PHOTO_BYTES:
            raise ValueError(f"a photo of {len(photo)} bytes that is no JPEG or too large")
        return cls(unit_vector(vector, "trace"), quality, photo)


@dataclass(frozen=True, eq=False)
class Offer:
    """The traces of one event. `fingerprint`: that of the model that made the embeddings. `alike`: with this model, two faces count as
    one person's if their cosine is at least this."""

    traces: list[Trace]
    fingerprint: str
    alike: float

    @property
    def nearly_same(self) -> float:
        """Above this cosine two traces are near-duplicates: crops of the same moment."""
        return 1 - (1 - self.alike) / 4


def offer_of(event: Event) -> Offer | None:
    """The traces in an event's private fields; None if it has none.

    Raises KeyError, TypeError, ValueError or RefusedError if they are malformed.
    """
    if not event.traces:
        return None
    traces = [Trace.from_json(trace) for trace in event.traces[:_MAX_TRACES]]
    if len({len(trace.embedding) for trace in traces}) != 1:
        raise ValueError("traces of different lengths")
    if event.alike is None or not 0 < event.alike < 1 or event.fingerprint is None:
        raise ValueError(f"traces with the cosine {event.alike}")
    return Offer(traces, event.fingerprint, float(event.alike))


class TraceIndex:
    """All kept traces of one model: (n, dim) float32. A search compares all of them. The rows have no order: the last fills a gap."""

    def __init__(self, dim: int) -> None:
        self._rows = np.empty((_FIRST_ROOM, dim), np.float32)
        self._owners = np.empty(_FIRST_ROOM, np.int64)
        self._ids: list[int] = []
        self._places: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def dim(self) -> int:
        """Length of the embeddings."""
        return int(self._rows.shape[1])

    def add(self, trace_id: int, owner: int, vector: NDArray[np.float32]) -> None:
        """Add a trace (dim,) of stranger `owner` under an id that is not here yet."""
        place = len(self._ids)
        if place == len(self._rows):
            self._rows = np.concatenate([self._rows, np.empty_like(self._rows)])
            self._owners = np.concatenate([self._owners, np.empty_like(self._owners)])
        self._rows[place], self._owners[place] = vector, owner
        self._ids.append(trace_id)
        self._places[trace_id] = place

    def drop(self, trace_ids: Iterable[int]) -> None:
        """Remove traces. Ids that are not here are ignored."""
        for trace_id in trace_ids:
            place = self._places.pop(trace_id, None)
            if place is None:
                continue
            last = len(self._ids) - 1
            last_id = self._ids.pop()
            if place != last:
                self._rows[place], self._owners[place] = self._rows[last], self._owners[last]
                self._ids[place], self._places[last_id] = last_id, place
            self._rows[last] = 0  # nothing of a removed trace stays in memory

    def best(self, probes: NDArray[np.float32]) -> tuple[int, float] | None:
        """The owner of the trace with the highest cosine to any of `probes` (n, dim; unit L2 norm), and that cosine.

        None if there are no traces.
        """
        if not self._ids:
            return None
        scores = cosines(self._rows[: len(self._ids)], probes).max(axis=1)
        place = int(scores.argmax())
        return int(self._owners[place]), float(scores[place])
