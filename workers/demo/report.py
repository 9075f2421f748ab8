"""Collects the demo's events and status, and gives the state to show and the final summary. Draws and prints nothing."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import psutil

from shared.events import Event
from shared.status import CameraStatus, SiteSnapshot

Memory = Mapping[str, Mapping[str, int | None]]  # process -> pss_bytes, rss_bytes
WhoIsAt = Callable[[str, float, Sequence[float]], str | None]

_VERDICTS_SHOWN = 3
# The fields of CameraStatus that the summary has.
_FIGURES = ("frames_per_s", "faces_per_s", "age_p50_ms", "age_p95_ms", "latency_p50_ms", "latency_p95_ms")
_LATENCIES_KEPT = 10_000  # the newest, since a demo may run for days


@dataclass
class Seen:
    """A person or a stranger seen by one camera. `who`: the person, or the stranger's name in the scene. `best`: the event with the
    highest score."""

    camera: str
    who: str
    verdict: str
    best: Event
    events: int = 1

    @property
    def score(self) -> float:
        return float(self.best.score or 0.0)


@dataclass
class CameraView:
    """One camera as the table shows it. `status`: its part of the site's status; `in_view`: track -> verdict."""

    status: CameraStatus = field(default_factory=CameraStatus)
    in_view: dict[int, str] = field(default_factory=dict)
    last: deque[str] = field(default_factory=lambda: deque(maxlen=_VERDICTS_SHOWN))


class DemoReport:
    """The demo's state. Every method may be called from any thread."""

    def __init__(self, expected: Mapping[str, Sequence[str]], people: Sequence[str], who_is_at: WhoIsAt) -> None:
        """`expected`: camera → everybody who is seen there. `people`: those who are enrolled. `who_is_at`: whose face is at a box of
        a camera's clip, at a time."""
        self._expected, self._people, self._who_is_at = expected, tuple(people), who_is_at
        self._lock = threading.Lock()
        self._cameras = {name: CameraView() for name in expected}
        self._sightings: dict[tuple[str, str, str], Seen] = {}
        self._latencies_ms: deque[float] = deque(maxlen=_LATENCIES_KEPT)
        self._wrong: list[dict[str, Any]] = []

    def take_event(self, event: Event, received_at: datetime | None = None) -> None:
        """Add one event. `received_at`: default now; minus the event's own time, it is the latency."""
        kind, camera = event.event, event.camera
        with self._lock:
            view = self._cameras.get(str(camera))
            if view is None:
                return
            if kind in ("named", "unknown"):
                self._take_verdict(view, event)
                age = (received_at or datetime.now(UTC)) - datetime.fromisoformat(event.time)
                self._latencies_ms.append(age.total_seconds() * 1000)
            elif kind == "left":
                view.in_view.pop(event.track or 0, None)
            elif kind in ("camera_up", "camera_down"):
                view.in_view.clear()

    def take_status(self, status: SiteSnapshot) -> None:
        """Take the cameras' states out of the site's status."""
        with self._lock:
            for name, camera in status.cameras.items():
                if name in self._cameras:
                    self._cameras[name].status = camera

    def cameras(self) -> dict[str, CameraView]:
        """A copy of what the table shows."""
        with self._lock:
            return {n: CameraView(v.status, dict(v.in_view), v.last.copy()) for n, v in self._cameras.items()}

    def sightings(self) -> list[Seen]:
        """Everybody who was seen, by camera, the enrolled first."""
        order = {name: number for number, name in enumerate(self._expected)}
        with self._lock:
            found = list(self._sightings.values())
        return sorted(found, key=lambda s: (order[s.camera], s.verdict != "named", s.who))

    def summary(
        self, seconds: float, memory: Mapping[str, Mapping[str, int | None]], sheet: str | None
    ) -> dict[str, Any]:
        """The last line of `demo --json`. Times in milliseconds, memory in bytes, rates per second of `seconds`."""
        sightings = self.sightings()
        with self._lock:
            latencies, wrong = sorted(self._latencies_ms), list(self._wrong)
            status = {name: view.status for name, view in self._cameras.items()}
        cameras = {name: self._camera_summary(name, sightings, status[name]) for name in self._expected}
        pss = [process["pss_bytes"] for process in memory.values()]
        return {
            "event": "summary",
            "seconds": round(seconds, 1),
            "cameras": cameras,
            "wrong_names": wrong,
            "faces_per_s": round(sum(camera["faces_per_s"] or 0.0 for camera in cameras.values()), 1),
            "latency_ms": {"p50": percentile(latencies, 50), "p95": percentile(latencies, 95), "n": len(latencies)},
            "memory": {name: dict(process) for name, process in memory.items()},
            "memory_pss_bytes": None if None in pss else sum(size or 0 for size in pss),
            "sheet": sheet,
        }

    def _take_verdict(self, view: CameraView, event: Event) -> None:
        camera, verdict = str(event.camera), str(event.event)
        shown = str(event.person) if verdict == "named" else "unknown"
        view.in_view[event.track or 0] = shown
        view.last.appendleft(shown)
        truth = None
        if event.media_time_s is not None and event.box:
            truth = self._who_is_at(camera, event.media_time_s, event.box)
        if verdict == "named" and truth is not None and truth != shown:
            self._wrong.append({"camera": camera, "named": shown, "is": truth, "media_time_s": event.media_time_s})
        who = shown if verdict == "named" else truth or f"track {event.track}"
        known = self._sightings.get((camera, verdict, who))
        if known is None:
            self._sightings[camera, verdict, who] = Seen(camera, who, verdict, event)
        else:
            known.events += 1
            if float(event.score or 0) > known.score:
                known.best = event

    def _camera_summary(self, name: str, sightings: list[Seen], status: CameraStatus) -> dict[str, Any]:
        here = [sighting for sighting in sightings if sighting.camera == name]
        named = {sighting.who for sighting in here if sighting.verdict == "named"}
        return {
            "named": [_sighting_json(sighting) for sighting in here if sighting.verdict == "named"],
            # An enrolled person whose first crops were poor may have been unknown for a moment; the name counts.
            "unknown": [_sighting_json(s) for s in here if s.verdict == "unknown" and s.who not in named],
            "missed": [who for who in self._expected[name] if who in self._people and who not in named],
            **{key: value for key, value in status.to_json().items() if key in _FIGURES},
        }


def _sighting_json(sighting: Seen) -> dict[str, Any]:
    best = sighting.best
    return {
        "who": sighting.who,
        "score": best.score,
        "margin": best.margin,
        "media_time_s": best.media_time_s,
        "events": sighting.events,
    }


def percentile(ordered: Sequence[float], percent: float) -> float | None:
    """A percentile of an ascending sequence (nearest rank), rounded to one decimal; None if the sequence is empty."""
    if not ordered:
        return None
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))], 1)


def process_memory(pids: Mapping[str, int]) -> dict[str, dict[str, int | None]]:
    """Name → `pss_bytes` and `rss_bytes` of each process that still runs.

    PSS divides shared pages among their processes; it is known only on Linux, and only to root.
    """
    found: dict[str, dict[str, int | None]] = {}
    for name, pid in pids.items():
        try:
            process = psutil.Process(pid)
            found[name] = {"pss_bytes": None, "rss_bytes": process.memory_info().rss}
            found[name]["pss_bytes"] = getattr(process.memory_full_info(), "pss", None)
        except psutil.AccessDenied:
            continue  # our processes' memory is private: only root can read its PSS
        except psutil.Error:
            continue  # it has just ended
    return found
