"""One engine for all cameras beside one in each camera, in one run.

`python -m tests.benchmark.engine_cost [--cameras 1 4 16] [--fps 5] [--seconds 40] [--quick] [--json]`: needs the test data. Every camera plays
friends_in_video.mp4 (1280×720, up to seven faces) in real time, in a loop, with the small pack; `own` and `shared` take turns. Then, as `memory`,
as many cameras as at most share a recogniser of the shape and size of buffalo_l's, with random weights. `--quick`: a few seconds and few
cameras, to see that it runs.

- searches_per_s: of all cameras; embedded_per_s: crops of all cameras;
- age_p95_ms: of the newest frame when its search begins; latency_p95_ms: from its capture to its sightings; the camera that is worst;
- waited_p95_ms: how long requests waited for their turn;
- cores: of all cameras and the inference process;
- pss_mb: of a camera's process; added_pss_mb: what a camera more costs, from the largest and the smallest count; inference_pss_mb: of the
  inference process; all_pss_mb: of the whole site.
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
from tests.support.large_pack import write_large_pack
from tests.support.paths import FACES, SMALL_PACK, VIDEOS
from tests.support.site_process import SiteProcess
from tests.support.sites import enrol, write_site

_CLIP, _GALLERY = VIDEOS / "friends_in_video.mp4", FACES / "friends_enrol"
_SETTLES_S = 6.0  # until the last camera's first frames are past
Figures = dict[str, Any]


def measure(counts: list[int], fps: float, seconds: float) -> list[Figures]:
    results: list[Figures] = []
    smallest: dict[str, Figures] = {}
    for count in counts:
        for candidate in ("own", "shared"):
            with tempfile.TemporaryDirectory() as name:
                folder = _site(Path(name), count, fps, f"shared_engine = {str(candidate == 'shared').lower()}")
                enrol(folder, _GALLERY)
                result = {"case": "cameras", "cameras": count, "candidate": candidate, **_run(folder, seconds)}
            first = smallest.setdefault(candidate, result)
            if first is not result:
                grown = result["cameras_pss_mb"] - first["cameras_pss_mb"]
                if candidate == "shared":  # its slots lie in both
                    grown += result["inference_pss_mb"] - first["inference_pss_mb"]
                result["added_pss_mb"] = round(grown / (count - first["cameras"]), 1)
            results.append(result)
    return results


def measure_memory(count: int, fps: float, seconds: float) -> Figures:
    """`count` cameras share a recogniser of buffalo_l's size. Nobody is enrolled: its embeddings mean nothing."""
    with tempfile.TemporaryDirectory() as name:
        models = Path(name) / "data" / "models"
        write_large_pack(models / "random_r50", next(SMALL_PACK.glob("det*.onnx")))
        folder = _site(Path(name), count, fps, "shared_engine = true", model="random_r50", models=models)
        return {"case": "memory", "cameras": count, "candidate": "shared", **_run(folder, seconds)}


def _site(
    folder: Path, count: int, fps: float, recognition: str, *, model: str = "", models: Path | None = None
) -> Path:
    source = f'source = "{_CLIP}"\nloop = true\nfps = {fps}'
    write_site(folder, {f"camera-{number}": source for number in range(count)}, recognition)
    if models is not None:
        path = folder / "site.toml"
        text = path.read_text(encoding="utf-8")
        text = text.replace(str(SMALL_PACK.parent), str(models)).replace(SMALL_PACK.name, model)
        path.write_text(text, encoding="utf-8")
    return folder


def _run(folder: Path, seconds: float) -> Figures:
    """The figures of one site over so many seconds, once all its cameras are up."""
    with SiteProcess(folder) as site:
        site.wait_until_ready(300)
        _pass(site, _SETTLES_S)
        cameras = {name: psutil.Process(site.child_pid(name)) for name in site.status()["cameras"]}
        shared = "inference" in site.status()["processes"]
        inference = [psutil.Process(site.child_pid("inference"))] if shared else []
        working = [*cameras.values(), *inference]
        before, began = site.status(), time.monotonic()
        cpu_s = sum(sum(one.cpu_times()[:2]) for one in working)
        _pass(site, seconds)
        after, spent_s = site.status(), time.monotonic() - began
        cores = (sum(sum(one.cpu_times()[:2]) for one in working) - cpu_s) / spent_s
        pss_mb = [one.memory_full_info().pss / 1e6 for one in cameras.values()]
        inference_mb = sum(one.memory_full_info().pss for one in inference) / 1e6
        everything = [psutil.Process(site.process.pid), *site.children()]
        all_mb = sum(one.memory_full_info().pss for one in everything) / 1e6

    def grown(key: str) -> float:
        return float(sum(one[key] - before["cameras"][name][key] for name, one in after["cameras"].items())) / spent_s

    def worst(key: str) -> float | None:
        return max((one[key] for one in after["cameras"].values() if one[key] is not None), default=None)

    return {
        "searches_per_s": round(grown("looked_at"), 2),
        "embedded_per_s": round(grown("embedded"), 2),
        "age_p95_ms": worst("age_p95_ms"),
        "latency_p95_ms": worst("latency_p95_ms"),
        "waited_p95_ms": after["processes"]["inference"]["waited_p95_ms"] if shared else None,
        "cores": round(cores, 3),
        "pss_mb": round(fmean(pss_mb), 1),
        "cameras_pss_mb": round(sum(pss_mb), 1),
        "inference_pss_mb": round(inference_mb, 1),
        "all_pss_mb": round(all_mb, 1),
    }


def _pass(site: SiteProcess, seconds: float) -> None:
    began = time.monotonic()
    site.wait_for(lambda: time.monotonic() - began >= seconds, "the end of a measurement", seconds + 60)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cameras", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--fps", type=float, default=5.0)
    parser.add_argument("--seconds", type=float, default=40.0, help="of each site that are counted")
    parser.add_argument("--quick", action="store_true", help="one and two cameras, a few seconds each")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    counts, seconds = ([1, 2], 4.0) if arguments.quick else (sorted(arguments.cameras), arguments.seconds)
    results = measure(counts, arguments.fps, seconds)
    results.append(measure_memory(counts[-1], arguments.fps, seconds))
    print_report(results, as_json=arguments.json)


if __name__ == "__main__":
    main()
