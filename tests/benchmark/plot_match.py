"""The plot of docs/measurements.md: time of one match against the gallery's size, beside faiss, numpy and usearch.

`python -m tests.benchmark.plot_match [--from RUN.json] [--to docs/match.svg] [--rows N ...]`: from a run's `--json`, or from a run
of its own.
"""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path
from typing import Any

from tests.benchmark.match import measure
from tests.benchmark.report import machine
from tests.benchmark.timing import one_thread
from tests.support.paths import ROOT

_LOOKS = {
    "rollcall": ("#0b6e4f", "o", "rollcall (exact, best people)"),
    "faiss-flat": ("#c1440e", "s", "faiss IndexFlatIP (best rows)"),
    "usearch-exact": ("#7a4fbf", "^", "usearch exact (best rows)"),
    "numpy": ("#555555", "D", "numpy G @ q (scores only)"),
}


def draw(document: dict[str, Any], target: Path) -> None:
    # By name: whoever checks types need not have it, and only this command does.
    mpl = importlib.import_module("matplotlib")
    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "rollcall"  # the same figures give the same file
    pyplot = importlib.import_module("matplotlib.pyplot")

    figure, axes = pyplot.subplots(figsize=(7.2, 4.2), layout="constrained")
    for candidate, (colour, marker, label) in _LOOKS.items():
        points = sorted(
            (result["rows"], result["median_ms"])
            for result in document["results"]
            if result["case"] == "match" and result["probes"] == 1 and result["candidate"] == candidate
        )
        axes.plot(*zip(*points, strict=True), color=colour, marker=marker, label=label)
    axes.set(xscale="log", yscale="log", xlabel="references in the gallery (512-d)", ylabel="ms for one probe")
    axes.set_title(f"Time of one match, one thread, {document['machine']['cpu']}", fontsize=10)
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.legend(frameon=False)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, metadata={"Date": None})
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="source", type=Path, help="what tests.benchmark.match --json printed")
    parser.add_argument("--to", type=Path, default=ROOT / "docs" / "match.svg")
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000, 10_000, 100_000, 300_000, 1_000_000])
    given = parser.parse_args()
    if given.source:
        document = json.loads(given.source.read_text(encoding="utf-8"))
    else:
        one_thread()
        results = [result for rows in given.rows for result in measure(rows, [1], 11)]
        document = {"machine": machine(), "results": results}
    draw(document, given.to)
    print(given.to)


if __name__ == "__main__":
    main()
