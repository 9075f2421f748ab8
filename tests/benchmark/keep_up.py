"""Whether cameras keep up in real time: cores used, age of the newest frame, memory.

`python -m tests.benchmark.keep_up [--cameras 2] [--fps 5] [--seconds 30] [--json]`: needs the test data; every camera plays
friends_in_video.mp4 (1280×720, 24 frames a second, up to seven faces) in a loop, in real time, with the small pack.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from tests.benchmark.report import print_report
from tests.support.paths import FACES, VIDEOS
from tests.support.site_process import SiteProcess
from tests.support.sites import enrol, write_site


def measure(cameras: int, fps: float, seconds: float) -> list[dict[str, Any]]:
    names = [f"camera-{number}" for number in range(1, cameras + 1)]
    source = f'source = "{VIDEOS / "friends_in_video.mp4"}"\nloop = true\nfps = {fps}'
    with tempfile.TemporaryDirectory() as name:
        folder = write_site(Path(name), dict.fromkeys(names, source))
        enrol(folder, FACES / "friends_enrol")
        with SiteProcess(folder) as site:
            site.wait_until_ready(120)
            processes = {
                "supervisor": psutil.Process(site.process.pid),
                "writer": psutil.Process(site.child_pid("writer")),
            }
            processes |= {camera: psutil.Process(site.child_pid(camera)) for camera in names}
            before = {key: sum(process.cpu_times()[:2]) for key, process in processes.items()}
            began = time.monotonic()
            site.wait_for(lambda: time.monotonic() - began >= seconds, "the measured time", seconds + 10)
            spent = time.monotonic() - began
            status = site.status()["cameras"]
            return [
                {
                    "case": "keep up",
                    "process": key,
                    "cores": round((sum(process.cpu_times()[:2]) - before[key]) / spent, 3),
                    "age_p50_ms": status.get(key, {}).get("age_p50_ms"),
                    "age_p95_ms": status.get(key, {}).get("age_p95_ms"),
                    "pss_mb": round(process.memory_full_info().pss / 1e6),
                }
                for key, process in processes.items()
            ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cameras", type=int, default=2)
    parser.add_argument("--fps", type=float, default=5.0)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    print_report(measure(arguments.cameras, arguments.fps, arguments.seconds), as_json=arguments.json)


if __name__ == "__main__":
    main()
