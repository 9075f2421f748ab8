"""What the web process counts itself, for the metrics: its requests, its streams, the sightings that passed. No counter has a name."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from shared.events import Sighting
from workers.serving.gate import Seen

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SCORES = tuple(round(0.05 * step, 2) for step in range(1, 21))
_ENDLESS = ("/stream", "/live", "/stream.mjpeg")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series beside each counter, which nobody asked for


class Counters:
    """The counters, in one registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "rollcall_http_requests", "Answered requests", ["route", "method", "code"], registry=self.registry
        )
        self._took = Histogram(
            "rollcall_http_request_duration_seconds", "From a request to the end of its answer, streams left out",
            ["route"], buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip
        self.streams = Gauge("rollcall_event_streams", "Streams of sightings that are open", registry=self.registry)
        self.viewers = Gauge("rollcall_live_viewers", "Walls and large pictures that are open", registry=self.registry)
        self.login_failures = Counter(
            "rollcall_login_failures", "Tries to sign in that were refused", registry=self.registry
        )
        self._sightings = Counter(
            "rollcall_sightings", "Sightings since the web process started", ["camera", "event"], registry=self.registry
        )
        self._scores = Histogram(
            "rollcall_match_score", "Score of the sightings that have one", ["event"], buckets=_SCORES,
            registry=self.registry,
        )  # fmt: skip

    def take_answer(self, seen: Seen) -> None:
        """Count an answered request. Paths that there are not, and methods of nobody's, are one label: a scan must not make thousands."""
        method = seen.method if seen.method in _METHODS else "other"
        self._requests.labels(seen.route or "none", method, str(seen.status)).inc()
        if not seen.route.endswith(_ENDLESS):
            self._took.labels(seen.route or "none").observe(seen.took_s)

    def take_sighting(self, sighting: Sighting) -> None:
        """Count a sighting."""
        self._sightings.labels(sighting.camera, sighting.event).inc()
        if sighting.score is not None and sighting.event in ("named", "unknown", "left"):
            self._scores.labels(sighting.event).observe(sighting.score)
