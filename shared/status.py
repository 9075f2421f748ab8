"""The status of a site's processes. Each reports its own, the supervisor completes it, and `status`, `check` and the demo show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from functools import cache
from typing import Any, Self, cast, get_args, get_type_hints


class ChildState(StrEnum):
    """The state of a child, as `status` shows it. The child reports the first four itself."""

    STARTING = "starting"
    LOADING = "loading"
    RUNNING = "running"
    ENDED = "ended"  # its file has come to its end
    STOPPING = "stopping"
    WAITING = "waiting"  # it will be restarted
    STOPPED = "stopped"
    FAILED = "failed"  # it will not be restarted


# The parts of quality that can refuse a face, as workers/recognition/quality.py has them.
REFUSALS = ("size", "detector", "pose", "sharpness", "brightness")
_WITHOUT_PICTURES = (ChildState.WAITING, ChildState.FAILED, ChildState.RUNNING)


@dataclass(frozen=True)
class ChildStatus:
    """The status of one child. The child reports `state`, the supervisor adds the rest."""

    state: ChildState = ChildState.STARTING
    pid: int | None = None
    restarts: int = 0
    exit_code: int | None = None
    uptime_s: float | None = None
    heartbeat_age_s: float | None = None

    @property
    def outline(self) -> tuple[object, ...]:
        """What is passed on at once when it changes; other changes wait for the next second."""
        return (self.state, self.restarts)

    def to_json(self) -> dict[str, Any]:
        """All fields by their names."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Raises ValueError, see `updated`."""
        return cls().updated(document)

    def updated(self, document: Mapping[str, Any]) -> Self:
        """This status with the fields that `document` has. Unknown fields are ignored: a newer version may send more.

        Raises ValueError if a value has another type than the field.
        """
        kinds = _kinds(cast(type, type(self)))
        given: dict[str, Any] = {name: document[name] for name in kinds if name in document}
        for name, value in given.items():
            if type(value) not in kinds[name]:
                raise ValueError(f"{name} is no {type(self).__name__}'s")
        if "state" in given:
            given["state"] = ChildState(given["state"])
        return replace(self, **given)


@cache
def _kinds(of: type) -> dict[str, set[type]]:
    """The types that a field's value in JSON may have."""
    hints = get_type_hints(of)
    kinds = {one.name: set(get_args(hints[one.name]) or [hints[one.name]]) for one in fields(of)}
    for known in kinds.values():
        if float in known:
            known.add(int)
    return kinds | {"state": {str, ChildState}}


@dataclass(frozen=True)
class WriterStatus(ChildStatus):
    """`waiting`: requests that are not answered yet; `peers`: connections that are open."""

    waiting: int = 0
    peers: int = 0


@dataclass(frozen=True)
class CameraStatus(ChildStatus):
    """The status of one camera.

    `up`: its process runs, and frames arrive. `down_since` (ISO 8601, UTC) and `down_reason`: since when and why a camera that should
    be up is not. `picture_fault`: what is wrong with frames that do arrive: they are frozen, or have no content. `decoding`: which of them are
    decoded now, and why all if it is all; `decoded`: how many were; `decode_device`: what decodes,
    and why not what was asked for. `runs_on`: what runs the models, and whether one process does so for all cameras. Ages and latencies are
    those of the latest frames. `*_ms`, `*_cores`: of the last minute, see workers/pipeline/stages.py. `unsent`: sightings that the writer does
    not have yet. `threshold`, `margin`: the limits in force, raw cosines; `threshold_from`: why that threshold; `strangers_estimated`: the
    share of strangers whose single photo would reach it. `faces_seen`: faces that have left, each once for each time in view; `refused_*`: those of
    which no picture could be used, by the part of quality that refused it; `recent_*`: the same of the latest, and their median width, each at its
    largest, in pixels.
    """

    up: bool = False
    down_since: str | None = None
    down_reason: str | None = None
    source: str | None = None
    # the source
    picture_fault: str | None = None
    decoding: str | None = None
    decoded: int = 0
    decode_device: str | None = None
    runs_on: str | None = None
    frames: int = 0
    dropped: int = 0
    losses: int = 0
    # the work
    model: str | None = None
    threshold: float | None = None
    margin: float | None = None
    threshold_from: str | None = None
    strangers_estimated: float | None = None
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
    # what each stage costs
    decode_ms: float | None = None
    decode_cores: float | None = None
    detect_ms: float | None = None
    detect_cores: float | None = None
    embed_ms: float | None = None
    embed_cores: float | None = None
    match_ms: float | None = None
    match_cores: float | None = None
    # the faces
    faces_seen: int = 0
    refused_size: int = 0
    refused_detector: int = 0
    refused_pose: int = 0
    refused_sharpness: int = 0
    refused_brightness: int = 0
    recent_seen: int = 0
    recent_size: int = 0
    recent_detector: int = 0
    recent_pose: int = 0
    recent_sharpness: int = 0
    recent_brightness: int = 0
    recent_px_p50: float | None = None

    @property
    def outline(self) -> tuple[object, ...]:
        return (*super().outline, self.up)

    @property
    def is_down(self) -> bool:
        """Whether the camera should give frames and gives none: it runs without frames, waits for its restart, or has failed."""
        return not self.up and self.state in _WITHOUT_PICTURES

    @property
    def word(self) -> str:
        """ "up", "down", or else the name of the state."""
        return "up" if self.up else "down" if self.is_down else self.state.value


@dataclass(frozen=True)
class SyncStatus(ChildStatus):
    """The status of the exchange with other sites.

    `up`: the backend answers; `down_since`, `down_reason`: since when and why it does not. `wire`: "rollcall", or "plain" for a server that
    knows lists only. `last_sync`: when the last exchange came to its end (ISO 8601, UTC). `sent`, `received`: items since this process began.
    `quarantined`: items that can't be used; `quarantine`: why, the reason of most of them first. `unconfirmed`: the sites that have not heard
    yet of everything that was deleted here. `has_key`: whether people who are forgotten here are known elsewhere by their hashed names.
    `unshown`: references that a plain server took and does not show.
    """

    up: bool = False
    down_since: str | None = None
    down_reason: str | None = None
    wire: str | None = None
    last_sync: str | None = None
    sent: int = 0
    received: int = 0
    sightings_sent: int = 0
    quarantined: int = 0
    quarantine: str | None = None
    unconfirmed: str | None = None
    has_key: bool = False
    unshown: int | None = None

    @property
    def outline(self) -> tuple[object, ...]:
        return (*super().outline, self.up)


@dataclass(frozen=True)
class InferenceStatus(ChildStatus):
    """The status of the process that runs the models for all cameras.

    `device`: what runs them, and why not an accelerator that is there. `cameras`: how many share it. `threads`: how many pieces of work it
    does at once. `searches`, `embedded`: pictures and crops since the process began. `waited_p95_ms`: how long requests of the last minute
    waited for their turn. `fault`: what ended the last process, if it may pass.
    """

    device: str | None = None
    model: str | None = None
    cameras: int = 0
    threads: int = 0
    searches: int = 0
    embedded: int = 0
    searches_per_s: float | None = None
    waited_p95_ms: float | None = None
    fault: str | None = None

    @property
    def outline(self) -> tuple[object, ...]:
        return (*super().outline, self.fault, self.cameras)


_STATUS_OF_PROCESS: Mapping[str, type[ChildStatus]] = {"sync": SyncStatus, "inference": InferenceStatus}


@dataclass(frozen=True)
class SiteSnapshot:
    """A running site as its supervisor knows it. `pid`: the supervisor's. `processes`: children of further kinds, by name.

    `reloads`: how often it was asked to read its settings again. `reload_faults`: why the last reload was refused; empty: it was not.
    `awaits_restart`: settings of the file that are in force only after a restart of the site.
    """

    site: str
    pid: int
    ready: bool
    uptime_s: float
    writer: WriterStatus = field(default_factory=WriterStatus)
    cameras: Mapping[str, CameraStatus] = field(default_factory=dict)
    processes: Mapping[str, ChildStatus] = field(default_factory=dict)
    reloads: int = 0
    reload_faults: tuple[str, ...] = ()
    awaits_restart: tuple[str, ...] = ()

    @property
    def outline(self) -> list[tuple[object, ...]]:
        """That of each child: what is passed on at once when it changes."""
        children = [("writer", self.writer), *self.cameras.items(), *self.processes.items()]
        return [(self.reloads,), *((name, *child.outline) for name, child in children)]

    def to_json(self) -> dict[str, Any]:
        return {
            "site": self.site,
            "pid": self.pid,
            "ready": self.ready,
            "uptime_s": self.uptime_s,
            "writer": self.writer.to_json(),
            "cameras": {name: one.to_json() for name, one in self.cameras.items()},
            "processes": {name: one.to_json() for name, one in self.processes.items()},
            "reloads": self.reloads,
            "reload_faults": list(self.reload_faults),
            "awaits_restart": list(self.awaits_restart),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Raises ValueError, KeyError, TypeError or AttributeError for what is none."""
        return cls(
            str(document["site"]),
            int(document["pid"]),
            bool(document["ready"]),
            float(document["uptime_s"]),
            WriterStatus.from_json(document["writer"]),
            {name: CameraStatus.from_json(one) for name, one in document["cameras"].items()},
            {
                name: _STATUS_OF_PROCESS.get(name, ChildStatus).from_json(one)
                for name, one in document.get("processes", {}).items()
            },
            int(document.get("reloads", 0)),
            tuple(str(line) for line in document.get("reload_faults", ())),
            tuple(str(key) for key in document.get("awaits_restart", ())),
        )
