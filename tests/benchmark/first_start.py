"""How long the first start takes, which embeds every photo, and the second, which finds them in SQLite.

`python -m tests.benchmark.first_start [--photos 1000] [--json]`: needs the test data. Photos are lfw_mini's, each varied in
light and size so that every one is embedded anew.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from pathlib import Path

from PIL import Image, ImageEnhance

from tests.benchmark.report import print_report
from tests.support.paths import FACES
from tests.support.site_process import SiteProcess
from tests.support.sites import write_site


def write_photos(faces: Path, count: int) -> None:
    """`count` photos of 30 people under `faces`."""
    sources = sorted((FACES / "lfw_mini").glob("*/*.jpg"))
    for number in range(count):
        source, lap = sources[number % len(sources)], number // len(sources)
        folder = faces / source.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        with Image.open(source) as photo:
            varied = ImageEnhance.Brightness(photo).enhance(0.85 + 0.05 * lap)
            varied.resize((photo.width + 2 * lap, photo.height + 2 * lap)).save(
                folder / f"{source.stem}_{lap}.jpg", quality=92
            )


def seconds_to_ready(folder: Path) -> tuple[float, int]:
    """Seconds from `run` to a site that runs, and how many references it then has."""
    began = time.monotonic()
    with SiteProcess(folder) as site:
        site.wait_until_ready(1800)
        seconds = time.monotonic() - began
        count = site.status()["gallery"]["references"]
        site.stop()
    return seconds, count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = write_site(Path(name), {})
        write_photos(folder / "data" / "faces", arguments.photos)
        subprocess.run(["sync"], check=False)
        results = []
        for case in ("first start", "second start"):
            seconds, count = seconds_to_ready(folder)
            results.append(
                {"case": case, "photos": arguments.photos, "references": count, "seconds": round(seconds, 2)}
            )
    print_report(results, as_json=arguments.json)


if __name__ == "__main__":
    main()
