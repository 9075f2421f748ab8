"""What is known of one camera: said by its process, completed by the supervisor, shown by `status`, `check` and the demo."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from shared.supervision.child_process import ChildState

_WITHOUT_PICTURES = (ChildState.WAITING, ChildState.FAILED, ChildState.RUNNING)


@dataclass(frozen=True)
class CameraStatus:
    """`up`: its process runs and its latest frames arrived. `down_since` (ISO 8601, UTC): since when it has not been up, where it
    should be; `down_reason`: why. `picture_fault`: what is wrong with pictures that do arrive: frozen, or without content.

    Ages and latencies are of the latest frames. `unsent`: sightings that the writer does not have yet."""

    state: ChildState = ChildState.STARTING
    up: bool = False
    down_since: str | None = None
    down_reason: str | None = None
    source: str | None = None
    # of its process
    pid: int | None = None
    restarts: int = 0
    exit_code: int | None = None
    uptime_s: float | None = None
    heartbeat_age_s: float | None = None
    # of its source
    picture_fault: str | None = None
    frames: int = 0
    dropped: int = 0
    losses: int = 0
    # of its work
    model: str | None = None
    looked_at: int = 0
    faces: int = 0
    embedded: int = 0
    tracks: int = 0
    unsent: int = 0
    frames_per_s: float | None = None
    faces_per_s: float | None = None
    age_p50_ms: float | None = None
    age_p95_ms: float | None = None
    latency_p50_ms: float | None = None
    latency_p95_ms: float | None = None

    @property
    def is_down(self) -> bool:
        """Whether it gives no pictures and is not just starting, stopping, or at its file's end."""
        return not self.up and self.state in _WITHOUT_PICTURES

    @property
    def word(self) -> str:
        """up, down, or the state that it is in instead."""
        return "up" if self.up else "down" if self.is_down else self.state.value

    def to_json(self) -> dict[str, Any]:
        """Every field by its name."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> CameraStatus:
        """The fields that are there; what is no field of ours is left out: a newer program may say more."""
        known = {field.name: document[field.name] for field in fields(cls) if field.name in document}
        if "state" in known:
            known["state"] = ChildState(known["state"])
        return cls(**known)
