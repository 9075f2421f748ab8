"""How much later somebody who walks into an empty room is named if the camera is decoded on demand, beside one that is decoded whole.

`python -m tests.benchmark.walk_in [--visits 6] [--json]`: needs the test data's model and an RTSP server. Two cameras of one site read one
stream (1080p H.264, keyframes 2 s apart, a sensor's noise), at the same time, so each visit is compared with itself.

- later_ms: of each visit, from one camera's name to the other's, as they come out of the site; missed: visits that only one camera named;
- named_person_s: of each camera, all visits together.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from tests.benchmark.report import print_report
from tests.support.camera_streams import SIZES, walk_stream
from tests.support.paths import astronaut
from tests.support.rtsp_camera import RtspCamera
from tests.support.site_process import SiteProcess
from tests.support.sites import enrol, write_site

_FIRST_S, _EVERY_S, _VISIT_S = 24.0, 12.5, 4.0
_ON_DEMAND, _WHOLE = "on_demand", "always"


def measure(visits: int) -> list[dict[str, Any]]:
    walks = tuple(_FIRST_S + _EVERY_S * number for number in range(visits))
    length_s = walks[-1] + _VISIT_S + 6.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = walk_stream(folder / "walk.ts", size=SIZES["1080p"], walks=walks, seconds=length_s, scale=2.5)
        (folder / "people" / "somebody").mkdir(parents=True)
        shutil.copy(astronaut(), folder / "people" / "somebody" / "photo.png")
        with RtspCamera(path) as server:
            return _watch(folder, server.url, length_s)


def _watch(folder: Path, url: str, length_s: float) -> list[dict[str, Any]]:
    cameras = {decode: f'source = "{url}"\ndecode = "{decode}"' for decode in (_ON_DEMAND, _WHOLE)}
    write_site(folder, cameras)
    enrol(folder, folder / "people")
    named: dict[str, list[float]] = {decode: [] for decode in cameras}
    taken = 0

    def is_over() -> bool:
        nonlocal taken
        for event in site.events[taken:]:
            if event["event"] == "named":
                named[event["camera"]].append(time.monotonic())
            taken += 1
        return time.monotonic() > until

    with SiteProcess(folder) as site:
        site.wait_until_ready(180)
        until = time.monotonic() + length_s
        site.wait_for(is_over, "the stream's end", length_s + 60)
        assert site.stop() == 0
        left = [event for event in site.events if event["event"] == "left" and event["verdict"] == "named"]
    later = [(ours - theirs) * 1000 for theirs in named[_WHOLE] for ours in named[_ON_DEMAND] if _is_same(ours, theirs)]
    alone = sum(len(times) for times in named.values()) - 2 * len(later)
    spans = {f"{one}_named_s": sum(event["duration_s"] for event in left if event["camera"] == one) for one in cameras}
    return [
        {
            "case": "walk in",
            "visits": len(named[_WHOLE]),
            "missed": alone,
            "later_ms_median": round(median(later)) if later else None,
            "later_ms_max": round(max(later)) if later else None,
            "later_ms": " ".join(str(round(one)) for one in later),
            **{name: round(seconds, 1) for name, seconds in spans.items()},
        }
    ]


def _is_same(ours: float, theirs: float) -> bool:
    return abs(ours - theirs) < _EVERY_S / 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--visits", type=int, default=6)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    print_report(measure(arguments.visits), as_json=arguments.json)


if __name__ == "__main__":
    main()
