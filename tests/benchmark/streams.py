"""What a network camera costs by its size and by what it shows: an empty room, or people all the time.

Each stream is served by a real RTSP server and read by one camera of a running site; only the camera's process is counted. The empty
room has a sensor's noise and keyframes 4 s apart, the film with people keyframes 2 s apart; 4K is HEVC, the others are H.264.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from tests.support.camera_streams import SIZES, busy_stream, empty_stream
from tests.support.paths import FACES
from tests.support.rtsp_camera import RtspCamera
from tests.support.site_process import SiteProcess
from tests.support.sites import enrol, write_site

# Before anything is counted: until the stream's own sizes are known, and in an empty room until keyframes are looked at as rarely as
# they ever are, and the first three checks of what was passed over have come, which is for minutes the last one.
_WARM_S = {"busy": 16.0, "empty": 160.0}
_MORE_S = 24  # an empty stream is served once; it is so much longer than what is warmed up and counted


def make_stream(folder: Path, resolution: str, scene: str, seconds: float) -> Path:
    """The stream's file in `folder`, in an empty room for a count of so many seconds; one that is there from an earlier run is taken."""
    path = folder / f"{scene}-{resolution}{'-hevc' if resolution == '4k' else ''}.mp4"
    if not path.exists():
        made = path.with_name(f"new-{path.name}")
        if scene == "empty":
            empty_stream(made, *SIZES[resolution], seconds=round(_WARM_S[scene] + seconds) + _MORE_S)
        else:
            busy_stream(made, *SIZES[resolution], repeat=4)
        made.rename(path)
    return path


def measure_streams(
    streams: Path, resolutions: list[str], scenes: list[str], settings: Mapping[str, str], seconds: float
) -> list[dict[str, Any]]:
    """A line for each resolution, scene and candidate. `settings`: of each candidate, lines of its camera's section."""
    results = []
    for scene in scenes:
        for resolution in resolutions:
            path = make_stream(streams, resolution, scene, seconds)
            for candidate, lines in settings.items():
                figures = _run(path, lines, _WARM_S[scene], seconds)
                results.append({"case": f"{resolution} {scene}", "processes": 1, "candidate": candidate, **figures})
    return results


def _run(path: Path, lines: str, warm_s: float, seconds: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name, RtspCamera(path) as server:
        folder = write_site(Path(name), {"camera": f'source = "{server.url}"\n{lines}'})
        enrol(folder, FACES / "friends_enrol")
        with SiteProcess(folder) as site:
            site.wait_until_ready(180)
            site.wait_for_event(30, event="camera_up")
            process = psutil.Process(site.child_pid("camera"))
            _wait(site, warm_s)
            began, cpu_s = time.monotonic(), sum(process.cpu_times()[:2])
            before = site.status()["cameras"]["camera"]
            _wait(site, seconds)
            cores = (sum(process.cpu_times()[:2]) - cpu_s) / (time.monotonic() - began)
            after = site.status()["cameras"]["camera"]
            pss_mb = process.memory_full_info().pss / 1e6
            assert site.stop() == 0
            left = [event for event in site.events if event["event"] == "left" and event["verdict"] == "named"]
    frames = after["frames"] - before["frames"]
    return {
        "cores": round(cores, 4),
        "decoded": round((after["decoded"] - before["decoded"]) / frames, 3) if "decoded" in after and frames else None,
        "looked_at": after["looked_at"] - before["looked_at"],
        "named_person_s": round(sum(event["duration_s"] for event in left), 1),
        "names": len({event["person"] for event in left}),
        "age_p95_ms": after["age_p95_ms"],
        "pss_mb": round(pss_mb),
        "decoding": after.get("decoding"),
    }


def _wait(site: SiteProcess, seconds: float) -> None:
    until = time.monotonic() + seconds
    site.wait_for(lambda: time.monotonic() >= until, "time", seconds + 30)
