"""The web part: what it costs, and how soon somebody sees something in a browser.

    python -m tests.benchmark.web [--case NAME ...] [--readers 200] [--events 100] [--people 10000] [--json]

All cases, or only those that are named; the pages need Debian's chromium and the extra [browser-test], and are left out where it is not.
A site without cameras, on the dlib engine:
- idle: PSS and share of one core of the web process, nobody connected, over ten seconds;
- stream: one reader of the stream, five sightings a second; from the moment before one is sent to the writer until its line is read;
- readers: the same with so many readers, and what the web process takes of a core and of memory meanwhile;
- stalled: one reader, alone and beside 20 clients that read nothing, in turn;
- people: a page of 60 of the list of so many people, the first and one a thousand names later.
Cameras that play a 720p clip:
- live: what 16 tiles at two frames a second cost: what cameras and web process take more than with nobody watching, in turn;
- unwatched: what a camera takes with the web part on and off, in turn, nobody watching.
Real Chromium:
- browser: from the moment before a sighting is sent to the writer until it is in the DOM of the page Events;
- paint: a phone (390 x 844) four times as slow as this machine, five loads without a cache each: until something is painted, and until the page's own
  content is there;
- people-page: so many people with photos, on a desk: from the navigation until the first screen of cards is drawn, and until its photos are;
- enrolled: from the answer to Enrol until the page Live shows the name at the camera.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from tests.benchmark import web_cameras, web_pages, web_streams
from tests.benchmark.report import print_report
from tests.benchmark.web_figures import Figures

CASES = (*web_streams.CASES, *web_cameras.CASES, *web_pages.CASES)


def measure(cases: set[str], readers: int, events: int, people: int) -> list[Figures]:
    results: list[Figures] = []
    if cases & set(web_streams.CASES):
        with tempfile.TemporaryDirectory() as folder:
            results += web_streams.measure(Path(folder), cases, readers, events, people)
    if cases & set(web_cameras.CASES):
        with tempfile.TemporaryDirectory() as folder:
            results += web_cameras.measure(Path(folder), cases)
    if cases & set(web_pages.CASES):
        with tempfile.TemporaryDirectory() as folder:
            results += web_pages.measure(Path(folder), cases, events, people)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=CASES, nargs="+", default=CASES)
    parser.add_argument("--readers", type=int, default=200)
    parser.add_argument("--events", type=int, default=100)
    parser.add_argument("--people", type=int, default=10_000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    results = measure(set(arguments.case), arguments.readers, arguments.events, arguments.people)
    print_report(results, as_json=arguments.json)


if __name__ == "__main__":
    main()
