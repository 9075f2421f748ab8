"""What a camera costs and who it names, beside every frame through insightface's FaceAnalysis, in one run.

`python -m tests.benchmark.cameras [--cameras 1 2 4 8 16] [--fps 5] [--json]`: needs the test data. With `--resolution 720p 1080p 4k` and
`--scene empty busy` it measures streams of these kinds instead (tests/benchmark/streams.py), decoded on demand and decoded whole. Every camera plays
friends_in_video.mp4 (1280×720, 24 frames a second, cuts, up to seven faces) in real time, with the small pack, one thread each.

- cpu_s_per_minute: of a camera's process, capture and decoding included, over one lap of the clip; cores: the same in cores;
- named_person_s: seconds in which a person whom the reference names in that frame lies in a track that is named so in the end,
  from the track's start; `share` of the reference's own; `wrong`: names that the reference never gives;
- age_*: of the newest frame when its search begins, latency_*: when its sightings are ready, both as `status` has them;
- pss_mb: of each camera's process; added_pss_mb: what each camera more costs the site.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import fmean
from typing import Any

import psutil

from tests.benchmark.report import print_report
from tests.benchmark.streams import measure_streams
from tests.benchmark.timing import in_fresh_process
from tests.support.camera_streams import SIZES
from tests.support.paths import FACES, VIDEOS
from tests.support.site_process import SiteProcess
from tests.support.sites import enrol, write_site

_CLIP, _GALLERY = VIDEOS / "friends_in_video.mp4", FACES / "friends_enrol"
_LOOK_S = 0.125  # a track is where it was seen for half the time between two searches of 4 a second

_CANDIDATES = {"on demand": "", "everything": 'decode = "always"'}

Frames = list[tuple[float, list[str]]]
Event = dict[str, Any]


def measure(counts: list[int], fps: float) -> list[dict[str, Any]]:
    reference = in_fresh_process("tests.benchmark.face_analysis", str(_CLIP), str(_GALLERY))
    frames: Frames = [(time_s, names) for time_s, names in reference["frames"]]
    length_s = frames[-1][0] + 1 / 24
    frame_s = length_s / len(frames)
    results = [
        {
            "case": "cameras",
            "processes": 1,
            "candidate": "reference",
            "cpu_s_per_minute": round(60 * reference["cpu_s"] / length_s, 2),
            "cores": round(reference["cpu_s"] / length_s, 3),
            "named_person_s": round(frame_s * sum(len(names) for _, names in frames), 1),
            "pss_mb": round(reference["pss_mb"]),
        }
    ]
    before: tuple[int, float] | None = None
    for count in counts:
        result = run_site(count, fps, frames, length_s)
        total = result.pop("total_pss_mb")
        if before is not None:
            result["added_pss_mb"] = round((total - before[1]) / (count - before[0]))
        before = count, total
        results.append(result)
    return results


def run_site(count: int, fps: float, frames: Frames, length_s: float) -> dict[str, Any]:
    names = [f"camera-{number}" for number in range(1, count + 1)]
    source = f'source = "{_CLIP}"\nloop = true\nfps = {fps}'
    with tempfile.TemporaryDirectory() as name:
        folder = write_site(Path(name), dict.fromkeys(names, source))
        enrol(folder, _GALLERY)
        with SiteProcess(folder) as site:
            site.wait_until_ready(180)
            processes = {camera: psutil.Process(site.child_pid(camera)) for camera in names}
            before = [sum(process.cpu_times()[:2]) for process in processes.values()]
            began = time.monotonic()
            site.wait_for(lambda: time.monotonic() - began >= length_s, "a lap", length_s + 60)
            spent_s = time.monotonic() - began
            cores = [
                (sum(process.cpu_times()[:2]) - cpu) / spent_s
                for process, cpu in zip(processes.values(), before, strict=True)
            ]
            pss = [process.memory_full_info().pss / 1e6 for process in processes.values()]
            status = site.status()["cameras"]
            # Every camera came up before `began`: its first lap is over.
            left = [event for event in site.events if event["event"] == "left" and event["verdict"] == "named"]
    each = [covered_s([event for event in left if event["camera"] == camera], frames, length_s) for camera in names]
    frame_s = length_s / len(frames)
    of_all = frame_s * sum(len(people) for _, people in frames)
    known = {person for _, people in frames for person in people}
    figures = {
        key: round(max(one[key] for one in status.values()), 1)
        for key in ("age_p50_ms", "age_p95_ms", "latency_p50_ms", "latency_p95_ms")
    }
    return {
        "case": "cameras",
        "processes": count,
        "candidate": "rollcall",
        "cpu_s_per_minute": round(60 * fmean(cores), 2),
        "cores": round(fmean(cores), 3),
        "named_person_s": round(fmean(each), 1),
        "share": round(fmean(each) / of_all, 3),
        "wrong": len({event["person"] for event in left} - known),
        **figures,
        "pss_mb": round(fmean(pss)),
        "total_pss_mb": sum(pss),
    }


def covered_s(left: list[Event], frames: Frames, length_s: float) -> float:
    """Of the person-seconds in `frames`, those in which a track of the first lap, named so in the end, was there."""
    spans = [(event["person"], event["media_time_s"] - event["duration_s"], event["media_time_s"]) for event in left]
    covered = sum(
        any(who == person and start - _LOOK_S <= time_s <= end + _LOOK_S for who, start, end in spans)
        for time_s, people in frames
        for person in people
    )
    return length_s / len(frames) * covered


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cameras", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--fps", type=float, default=5.0)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--resolution", choices=list(SIZES), nargs="+")
    parser.add_argument("--scene", choices=["empty", "busy"], nargs="+")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each stream that are counted")
    parser.add_argument("--streams", type=Path, help="a folder that keeps the streams, which take minutes to make")
    arguments = parser.parse_args()
    if arguments.resolution or arguments.scene:
        resolutions, scenes = arguments.resolution or list(SIZES), arguments.scene or ["empty", "busy"]
        with tempfile.TemporaryDirectory() as made:
            streams = arguments.streams or Path(made)
            results = measure_streams(streams, resolutions, scenes, _CANDIDATES, arguments.seconds)
    else:
        results = measure(arguments.cameras, arguments.fps)
    print_report(results, as_json=arguments.json)


if __name__ == "__main__":
    main()
