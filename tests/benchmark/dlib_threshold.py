"""Where dlib's threshold and margin come from: scores of real pairs, and what each working point would name.

    python -m tests.benchmark.dlib_threshold [--json]

Photos: lfw_mini and dlib_johns of the test data; photos without one clear face are left out. Three questions:
- pairs: the cosines of photos of one person (genuine) and of two people (impostors);
- known: each person's first three photos by file name are enrolled, the rest asked: how many are named right, and
wrong; - strangers: every photo is asked of the same gallery without its own person: how many get a name. The pick: the
lowest threshold that names at most 0.5 % of the strangers (as insightface's 0.45 does), and with it the largest margin
that costs no right name.
"""

from __future__ import annotations

import argparse
import json
import platform
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from shared.errors import RefusedError
from tests.support.paths import FACES
from workers.photos.embedding import embed_photo
from workers.photos.naming import people_in
from workers.recognizer_dlib import DlibEngine

GROUPS = ("lfw_mini", "dlib_johns")
ENROLLED = 3
MAX_STRANGERS = 0.005
THRESHOLDS = [round(0.90 + 0.005 * step, 3) for step in range(13)]
MARGINS = [round(0.005 * step, 3) for step in range(7)]
PERCENTILES = (0, 1, 5, 50, 95, 99, 99.9, 100)

Vectors = NDArray[np.float32]
Names = NDArray[np.str_]
Best = NDArray[np.float64]  # (n, 3): 1.0 where the best person is the true one, its score, the second person's score


def embed_people(engine: DlibEngine) -> tuple[Names, Vectors]:
    """(names, embeddings) of every photo that gives a reference, person by person, sorted by file name."""
    names, vectors = [], []
    for person, photo in people_in(FACES / group for group in GROUPS).pairs:
        try:
            vectors.append(embed_photo(engine, photo).embedding)
        except RefusedError:
            continue
        names.append(person)
    return np.array(names), np.array(vectors)


def enrolled_first(names: Names) -> NDArray[np.bool_]:
    """Which photos are among their person's first three."""
    chosen = np.zeros(len(names), bool)
    for person in np.unique(names):
        chosen[np.flatnonzero(names == person)[:ENROLLED]] = True
    return chosen


def best_two(scores: NDArray[np.float32], gallery: Names, true: str) -> tuple[float, float, float]:
    """One probe's `scores` against the gallery's photos, as a row of `Best`."""
    people = {person: float(scores[gallery == person].max()) for person in np.unique(gallery)}
    (person, first), (_, second) = sorted(people.items(), key=lambda pair: -pair[1])[:2]
    return float(person == true), first, second


def ask(names: Names, vectors: Vectors) -> tuple[Best, Best]:
    """(known, strangers): the best two of each probe."""
    enrolled = enrolled_first(names)
    gallery, cosines = names[enrolled], vectors @ vectors[enrolled].T
    known = [best_two(cosines[i], gallery, str(names[i])) for i in np.flatnonzero(~enrolled)]
    strangers = []
    for i, name in enumerate(names):
        others = gallery != name
        strangers.append(best_two(cosines[i][others], gallery[others], str(name)))
    return np.array(known), np.array(strangers)


def working_point(known: Best, strangers: Best, threshold: float, margin: float) -> dict[str, float]:
    """Shares named at one threshold and margin."""
    named = (known[:, 1] >= threshold) & (known[:, 1] - known[:, 2] >= margin)
    taken = (strangers[:, 1] >= threshold) & (strangers[:, 1] - strangers[:, 2] >= margin)
    right = known[:, 0] == 1
    return {
        "threshold": threshold,
        "margin": margin,
        "named_right": float((named & right).mean()),
        "named_wrong": float((named & ~right).mean()),
        "strangers_named": float(taken.mean()),
    }


def pick(known: Best, strangers: Best) -> dict[str, float]:
    """The working point by the rule at the head of this module."""
    for threshold in THRESHOLDS:
        plain = working_point(known, strangers, threshold, 0.0)
        if plain["strangers_named"] <= MAX_STRANGERS and plain["named_wrong"] == 0:
            points = [working_point(known, strangers, threshold, margin) for margin in MARGINS]
            return [point for point in points if point["named_right"] == plain["named_right"]][-1]
    return working_point(known, strangers, THRESHOLDS[-1], 0.0)


def measure() -> dict[str, Any]:
    cv2.setNumThreads(1)
    names, vectors = embed_people(DlibEngine(det_size=640))
    upper = np.triu_indices(len(names), 1)
    cosines, same = (vectors @ vectors.T)[upper], (names[:, None] == names[None])[upper]
    known, strangers = ask(names, vectors)
    margin = pick(known, strangers)["margin"]
    return {
        "machine": platform.processor() or platform.machine(),
        "photos": len(names),
        "people": len(np.unique(names)),
        "known": len(known),
        "strangers": len(strangers),
        "genuine": {str(p): round(float(np.percentile(cosines[same], p)), 4) for p in PERCENTILES},
        "impostor": {str(p): round(float(np.percentile(cosines[~same], p)), 4) for p in PERCENTILES},
        "points": [working_point(known, strangers, threshold, margin) for threshold in THRESHOLDS],
        "pick": pick(known, strangers),
    }


def table(result: dict[str, Any]) -> str:
    lines = [
        f"{result['photos']} photos of {result['people']} people; "
        f"{result['known']} known probes, {result['strangers']} strangers",
        "",
    ]
    lines += ["percentile   " + "".join(f"{p:>9}" for p in result["genuine"])]
    lines += [
        f"{kind:<13}" + "".join(f"{value:9.4f}" for value in result[kind].values()) for kind in ("genuine", "impostor")
    ]
    lines += ["", "threshold  margin  named right  named wrong  strangers named"]
    for point in result["points"]:
        picked = "  <- pick" if point["threshold"] == result["pick"]["threshold"] else ""
        lines.append(
            f"{point['threshold']:9.3f} {point['margin']:7.3f} {point['named_right']:12.1%} "
            f"{point['named_wrong']:12.1%} {point['strangers_named']:16.2%}{picked}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="measure dlib's threshold and margin on real pairs")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a table")
    arguments = parser.parse_args()
    if not FACES.is_dir():
        raise SystemExit(f"the test data is not at {FACES}; set ROLLCALL_TEST_DATA")
    result = measure()
    print(json.dumps(result) if arguments.json else table(result))


if __name__ == "__main__":
    main()
