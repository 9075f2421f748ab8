"""The metrics of the site, for Prometheus: what `status` tells, as families. No label has a person's name."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import psutil
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from shared.ipc.requests.gallery import GalleryInfo
from shared.ipc.requests.site import SiteStatus
from shared.settings.schema import Settings
from shared.status import REFUSALS, CameraStatus, ChildStatus, SiteSnapshot
from workers.dashboard.counters import Counters

_PARTS = {"database": "face_embeddings.db", "wal": "face_embeddings.db-wal", "backup": "face_embeddings.backup.db"}


def exposition(status: SiteStatus, settings: Settings, counters: Counters, version: str) -> bytes:
    """All metrics as text, format 0.0.4 of Prometheus."""
    registry = CollectorRegistry()
    registry.register(_SiteCollector(status, settings, version))
    return generate_latest(registry) + generate_latest(counters.registry)


class _SiteCollector(Collector):
    """The families of one answer of the writer."""

    def __init__(self, status: SiteStatus, settings: Settings, version: str) -> None:
        self._status, self._settings, self._version = status, settings, version

    def collect(self) -> Iterable[Metric]:
        gallery, site = self._status.gallery, self._status.site
        yield InfoMetricFamily(
            "rollcall_build",
            "What runs here",
            {
                "version": self._version,
                "engine": self._settings.recognition.engine,
                "model": gallery.model or "",
            },
        )
        yield from _of_gallery(gallery)
        yield from _of_store(self._settings)
        if site is not None:
            yield _gauge("rollcall_site_ready", "1: every process has started", float(site.ready))
            yield _gauge(
                "rollcall_config_last_reload_successful",
                "1: the last reload was taken",
                float(not site.reload_faults),
            )
            yield from _of_cameras(site)
            yield from _of_processes(site)


def _gauge(name: str, help_text: str, value: float | None) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, help_text)
    if value is not None:
        family.add_metric([], value)
    return family


def _of_gallery(gallery: GalleryInfo) -> Iterable[Metric]:
    yield _gauge("rollcall_gallery_people", "People who are enrolled", gallery.people)
    yield _gauge("rollcall_gallery_references", "References that are stored", gallery.references)
    yield _gauge("rollcall_gallery_set_aside", "References that are set aside", gallery.set_aside)
    yield _gauge("rollcall_gallery_published", "References in the gallery block", gallery.published_rows)
    yield _gauge("rollcall_gallery_generation", "Number of the gallery block's generation", gallery.generation)
    yield _gauge("rollcall_gallery_behind", "1: a stored change is not live yet", float(gallery.behind))
    yield _gauge("rollcall_store_writable", "1: the database takes changes", float(gallery.nothing_stored is None))
    yield _gauge("rollcall_store_damaged_rows", "Rows that were found damaged", gallery.damaged_rows)


def _of_store(settings: Settings) -> Iterable[Metric]:
    sizes = GaugeMetricFamily("rollcall_store_bytes", "Size of the database's files", labels=["part"])
    for part, name in _PARTS.items():
        if (found := _stat(settings.data_dir / name)) is not None:
            sizes.add_metric([part], found[0])
    yield sizes
    backup = _stat(settings.data_dir / _PARTS["backup"])
    yield _gauge(
        "rollcall_backup_last_success_timestamp_seconds",
        "When the site's own backup was made",
        None if backup is None else backup[1],
    )


def _stat(path: Path) -> tuple[int, float] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime


def _of_cameras(site: SiteSnapshot) -> Iterable[Metric]:
    cameras = site.cameras
    up = GaugeMetricFamily("rollcall_camera_up", "1: frames arrive and are looked at", labels=["camera"])
    frames = CounterMetricFamily(
        "rollcall_camera_frames", "Frames since the camera's process started", labels=["camera", "outcome"]
    )
    losses = CounterMetricFamily("rollcall_camera_reconnects", "How often the stream was lost", labels=["camera"])
    faces = CounterMetricFamily("rollcall_faces_detected", "Faces found", labels=["camera"])
    embedded = CounterMetricFamily("rollcall_faces_embedded", "Faces embedded", labels=["camera"])
    unsent = GaugeMetricFamily(
        "rollcall_camera_unsent_sightings", "Sightings that the writer does not have yet", labels=["camera"]
    )
    age = GaugeMetricFamily(
        "rollcall_camera_frame_age_seconds",
        "Age of the newest frames when they are looked at",
        labels=["camera", "quantile"],
    )
    latency = GaugeMetricFamily(
        "rollcall_sighting_latency_seconds", "From a frame to its decision", labels=["camera", "quantile"]
    )
    limits = GaugeMetricFamily("rollcall_camera_threshold", "The threshold in force", labels=["camera"])
    strangers = GaugeMetricFamily(
        "rollcall_camera_strangers_estimated", "Estimated share of strangers who reach the threshold", labels=["camera"]
    )
    seen = CounterMetricFamily("rollcall_faces_seen", "Faces, once for each time in view", labels=["camera"])
    refused = CounterMetricFamily(
        "rollcall_faces_refused",
        "Those of which no picture could be used, by the reason",
        labels=["camera", "reason"],
    )
    width = GaugeMetricFamily(
        "rollcall_face_width_pixels", "Median width of the latest faces, each at its largest", labels=["camera"]
    )
    for name, one in cameras.items():
        seen.add_metric([name], one.faces_seen)
        for part in REFUSALS:
            refused.add_metric([name, part], getattr(one, f"refused_{part}"))
        if one.recent_px_p50 is not None:
            width.add_metric([name], one.recent_px_p50)
        up.add_metric([name], float(one.up))
        for outcome, count in (("read", one.frames), ("dropped", one.dropped), ("looked_at", one.looked_at)):
            frames.add_metric([name, outcome], count)
        losses.add_metric([name], one.losses)
        faces.add_metric([name], one.faces)
        embedded.add_metric([name], one.embedded)
        unsent.add_metric([name], one.unsent)
        for family, quantile, value_ms in _quantiles(one, age, latency):
            family.add_metric([name, quantile], value_ms / 1000)
        for gauge, value in ((limits, one.threshold), (strangers, one.strangers_estimated)):
            if value is not None:
                gauge.add_metric([name], value)
    yield from (up, frames, losses, faces, embedded, unsent, age, latency, limits, strangers, seen, refused, width)


def _quantiles(
    one: CameraStatus, age: GaugeMetricFamily, latency: GaugeMetricFamily
) -> Iterable[tuple[GaugeMetricFamily, str, float]]:
    of_all = (
        (age, "0.5", one.age_p50_ms), (age, "0.95", one.age_p95_ms),
        (latency, "0.5", one.latency_p50_ms), (latency, "0.95", one.latency_p95_ms),
    )  # fmt: skip
    return ((family, quantile, value) for family, quantile, value in of_all if value is not None)


def _of_processes(site: SiteSnapshot) -> Iterable[Metric]:
    up = GaugeMetricFamily("rollcall_process_up", "1: it runs", labels=["process"])
    restarts = CounterMetricFamily("rollcall_process_restarts", "How often it was started again", labels=["process"])
    heartbeat = GaugeMetricFamily(
        "rollcall_process_heartbeat_age_seconds", "Since its last sign of progress", labels=["process"]
    )
    memory = GaugeMetricFamily("rollcall_process_resident_bytes", "Memory, the gallery included", labels=["process"])
    cpu = CounterMetricFamily("rollcall_process_cpu_seconds", "Processor time", labels=["process"])
    children: dict[str, ChildStatus] = {"writer": site.writer, **site.cameras, **site.processes}
    for name, one in children.items():
        up.add_metric([name], float(one.state == "running"))
        restarts.add_metric([name], one.restarts)
        if one.heartbeat_age_s is not None:
            heartbeat.add_metric([name], one.heartbeat_age_s)
    pids = {name: one.pid for name, one in children.items()} | {"supervisor": site.pid}
    for name, pid in pids.items():
        used = None if pid is None else _used(pid)
        if used is not None:
            memory.add_metric([name], used[0])
            cpu.add_metric([name], used[1])
    yield from (up, restarts, heartbeat, memory, cpu)


def _used(pid: int) -> tuple[int, float] | None:
    """Resident memory in bytes, and processor time in seconds, of a process; None if it has ended."""
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            times = process.cpu_times()
            return process.memory_info().rss, times.user + times.system
    except psutil.Error:
        return None
