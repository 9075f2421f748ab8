"""The request to a camera for its newest frame, and the answer. Each camera listens on a socket of its own in the run folder.

The messages are those of wire.py. The JPEG follows the answer's JSON as raw bytes:

    → {"v": 1, "op": "view", "arguments": {"after": 41, "divide": 4}}
    ← {"v": 1, "number": 42, "time": "…Z", "width": 1280, "height": 720, "tracks": […]} and the JPEG, 320 × 180 pixels

A camera answers when it has a frame after the one that the reader has. Nothing is drawn, encoded or kept while nobody asks.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from shared.errors import UsageError
from shared.ipc.requests.base import Answer, Request

DIVISORS = (1, 2, 4, 8)  # of the frame's width and height
MAX_REQUEST_BYTES = 4096
NO_FRAME_S = 5.0  # a camera without frames says so after this time


def view_path(run_dir: Path, camera: str) -> Path:
    """Where a camera listens."""
    return run_dir / f"camera-{camera}.sock"


@dataclass(frozen=True)
class LiveTrack:
    """One face that is followed now. `box`: x1, y1, x2, y2 in pixels of the whole frame. `verdict`: named, unknown or uncertain, as it would end
    now. `person`: only if named. `votes`: how many pictures name the same person so far, of `votes_needed`. `refused`: why the newest picture
    of the face can't be used (size, detector, pose, sharpness, brightness); empty: it can."""

    track: int
    box: list[int]
    verdict: str
    person: str | None
    score: float | None
    margin: float | None
    votes: int
    votes_needed: int
    refused: list[str]


@dataclass(frozen=True, kw_only=True)
class Viewed(Answer):
    """A frame, without its JPEG. `number` rises with each frame while the camera's process lives. `time`: ISO 8601, UTC. `width`, `height`: of the
    whole frame, pixels."""

    number: int
    time: str
    width: int
    height: int
    tracks: list[LiveTrack]


@dataclass(frozen=True)
class View(Request[Viewed]):
    """The newest frame after number `after`. `divide`: one of DIVISORS."""

    op: ClassVar[str] = "view"
    answer: ClassVar[type[Any]] = Viewed
    after: int = 0
    divide: int = 4

    @classmethod
    def _checked(cls, arguments: object) -> Self:
        """By hand: a camera reads it, and has no pydantic (requests/base.py)."""
        given = (
            {name: arguments[name] for name in ("after", "divide") if name in arguments}
            if isinstance(arguments, dict)
            else None
        )
        if given is None or any(type(value) is not int for value in given.values()):
            raise UsageError("not a request of this operation", where=cls.op, expected="an object with whole numbers")
        return cls(**given)
