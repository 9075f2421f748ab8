"""Open-set identification: how many people are named, and how many strangers, by the size of the gallery.

    python -m tests.benchmark.names [--json] [--plot docs/names.svg]

Faces: lfw_dev of the test data, some 400 people with two to four photos and 1,200 strangers, embedded with the small test pack. Each
person's last photo by file name is a probe, the others are enrolled. The law of false matches was measured on every other stranger; these
probes are the other half. Photos that are of one person under two names in the data are left out.

Terms of ISO/IEC 19795: FPIR is the share of strangers who get a name, FNIR the share of enrolled people who do not get theirs.

For galleries of 50, 100, 200 and all people, each drawn many times:
- raw: the threshold, chosen with hindsight, at which the wanted share of these strangers is named, and the people named there;
- raw, crops alone: the same with embeddings that don't count the mirror image;
- raw, a mean reference: the same as raw, and the mean of a person's references is one more reference of theirs;
- raw, less 50 next: the score less half the mean of the probe's 50 next best people, less half the mean of the reference's 50 best;
- fixed: threshold 0.45 with margin 0.05, whatever the gallery;
- strangers_named: the limits that follow from the wanted share; `fpir` is what came of the promise.
Strangers are also the people themselves, with everything of theirs left out. The interval of an FPIR is a 95 % bootstrap over strangers and draws
of the gallery.
- two photos: of people with three or more, one is enrolled, beside everybody with two and half of the strangers; the others in turn are
  strangers. Both photos must reach the threshold, or their mean embedding must; thresholds with hindsight.
- tracks: the films of the test data with a thousand people enrolled of whom none is in them; `fpir` is the share of tracks that end with a
  name, `tracks` their number. It is an upper bound: one person in a film has many tracks.
- simulated: galleries that the data has not. The threshold comes from the law, the people named from the measured scores of people with
  their own photos. That leaves out the people who are named wrongly, and the real faces of so many people.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from shared.embeddings import Batch
from shared.errors import RefusedError
from shared.gallery.memory import MemoryGallery
from shared.gallery.tail import Tail, tail_of
from shared.photos.reading import read_photo
from shared.settings.file import parse_settings
from tests.benchmark.report import print_report
from tests.support.paths import FACES, SMALL_PACK, VIDEOS
from workers.calibration.false_matches import upper_bound
from workers.capture.capture import Frame
from workers.photos.embedding import embed_image
from workers.pipeline.pipeline import CameraPipeline
from workers.recognition.engine import Engine
from workers.recognition.false_match_law import StrangerScores
from workers.recognition.working_point import WorkingPoint, limits
from workers.recognizer_arcface import LAW, ArcFaceEngine

SIZES = (50, 100, 200, 1000)  # the last: all that there are
SIMULATED = (10_000, 100_000)  # people, with 2.5 photos each
WANTED = (0.01, 0.001)
_DRAWS = 40
_BOOTSTRAPS = 500
_PHOTOS_EACH = 2.5
_FRAMES_PER_S = 5
# Two strangers who are people of the gallery under other names, seen by eye: their scores are .75 and .73, the next one is .50.
_SAME_PERSON = {"Morgan_Hentzen_0001", "Shavon_Earp_0001"}
_IN_A_FILM = {"Matt_LeBlanc_0001"}
_FIXED = WorkingPoint(0.45, 0.05)

Vectors = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Faces:
    """`enrolled` (n, dim) of `persons` (n,), `probes` (m, dim) of `whose` (m,), `strangers` (k, dim): all float32, unit L2 norm."""

    enrolled: Vectors
    persons: NDArray[np.int32]
    probes: Vectors
    whose: NDArray[np.int32]
    strangers: Vectors


@dataclass(frozen=True, eq=False)
class Asked:
    """One draw of a gallery, asked for everybody. `first`, `lead`: of strangers; `own`, `other`: of the people's probes, where `other` leads
    the other people by `other_lead`."""

    tail: Tail
    first: Vectors
    lead: Vectors
    own: Vectors
    other: Vectors
    other_lead: Vectors

    def fpir(self, point: WorkingPoint) -> NDArray[np.bool_]:
        """Which strangers get a name; then which of the people would, if all that is theirs were left out."""
        first, lead = np.concatenate([self.first, self.other]), np.concatenate([self.lead, self.other_lead])
        return (first >= point.threshold) & (lead >= point.margin)

    def named(self, point: WorkingPoint) -> tuple[float, float]:
        """The share of people who get their own name, and the share who get another."""
        right = (self.own >= point.threshold) & (self.own - self.other >= point.margin)
        wrong = (self.other >= point.threshold) & (self.other - self.own >= point.margin)
        return float(right.mean()), float(wrong.mean())


def load(engine: Engine, folder: Path) -> Faces:
    """Embed lfw_dev: a minute on two cores."""
    enrolled: list[Vectors] = []
    persons: list[int] = []
    probes: list[Vectors] = []
    for person, photos in enumerate(sorted((folder / "people").iterdir())):
        found = [one for photo in sorted(photos.iterdir()) if (one := _embedded(engine, photo)) is not None]
        if len(found) < 2:
            continue
        enrolled += found[:-1]
        persons += [person] * (len(found) - 1)
        probes.append(found[-1])
    others = [
        photo for photo in sorted((folder / "strangers").iterdir()) if photo.stem not in _SAME_PERSON | _IN_A_FILM
    ]
    strangers = [one for photo in others if (one := _embedded(engine, photo)) is not None]
    whose = np.unique(persons)
    return Faces(
        np.stack(enrolled), np.searchsorted(whose, persons).astype(np.int32), np.stack(probes),
        np.arange(len(whose), dtype=np.int32), np.stack(strangers[1::2]),
    )  # fmt: skip


def _embedded(engine: Engine, photo: Path) -> Vectors | None:
    try:
        return embed_image(engine, read_photo(photo)).embedding
    except RefusedError:  # it can't be told whose photo it is
        return None


# From probes (n, dim) and references (m, dim) of persons (m,), counted, to a score for each probe and person.
Scores = Callable[[Vectors, Vectors, NDArray[np.int32], int], Vectors]


def best_reference(probes: Vectors, references: Vectors, persons: NDArray[np.int32], count: int) -> Vectors:
    return _by_person(probes @ references.T, persons, count)


def with_mean_reference(probes: Vectors, references: Vectors, persons: NDArray[np.int32], count: int) -> Vectors:
    means = np.zeros((count, references.shape[1]), np.float32)
    np.add.at(means, persons, references)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    best: Vectors = np.maximum(best_reference(probes, references, persons, count), probes @ means.T)
    return best


def less_half_of_50_next(probes: Vectors, references: Vectors, persons: NDArray[np.int32], count: int) -> Vectors:
    among = best_reference(references, references, persons, count)
    among[np.arange(len(persons)), persons] = -2
    next_of_probes = np.sort(best_reference(probes, references, persons, count), axis=1)[:, :-1]
    scores = probes @ references.T - 0.5 * _mean_of_best(among) - 0.5 * _mean_of_best(next_of_probes)[:, None]
    return _by_person(scores, persons, count)


def _mean_of_best(scores: Vectors) -> Vectors:
    means: Vectors = np.sort(scores, axis=1)[:, -50:].mean(axis=1)
    return means


def ask(faces: Faces, people: NDArray[np.intp], scored: Scores = best_reference) -> Asked:
    """Enrol only these people, and ask for their probes and for the strangers."""
    rows = np.flatnonzero(np.isin(faces.persons, people))
    references, persons = faces.enrolled[rows], np.searchsorted(people, faces.persons[rows]).astype(np.int32)
    ranked = np.sort(scored(faces.strangers, references, persons, len(people)), axis=1)
    scores = scored(faces.probes[people], references, persons, len(people))
    own = scores.diagonal().copy()
    np.fill_diagonal(scores, -2)
    others = np.sort(scores, axis=1)
    return Asked(
        tail_of(references, persons), ranked[:, -1], ranked[:, -1] - ranked[:, -2], own, others[:, -1],
        others[:, -1] - others[:, -2],
    )  # fmt: skip  # a row each


def _by_person(scores: Vectors, persons: NDArray[np.int32], count: int) -> Vectors:
    best = np.full((len(scores), count), -2, np.float32)
    np.maximum.at(best.T, persons, scores.T)
    return best


def _interval(named: list[NDArray[np.bool_]]) -> tuple[float, float]:
    """A 95 % interval of the share: strangers and draws are both drawn again. If none was named, they prove no more than 3/N."""
    rng, table = np.random.default_rng(1), np.stack(named)
    if not table.any():
        return 0.0, upper_bound(0, table.shape[1])
    shares = [
        table[rng.integers(0, len(table), len(table))][:, rng.integers(0, table.shape[1], table.shape[1])].mean()
        for _ in range(_BOOTSTRAPS)
    ]
    low, high = np.quantile(shares, [0.025, 0.975])
    return float(low), float(high)


def measure(faces: Faces, alone: Faces, engine: ArcFaceEngine) -> list[dict[str, Any]]:
    """One result for each size, rule and wanted share. `alone`: embeddings that don't count mirror images."""
    rng, results = np.random.default_rng(0), []
    for size in SIZES:
        count = min(size, len(faces.probes))
        drawn = [
            np.sort(rng.choice(len(faces.probes), count, replace=False))
            for _ in range(1 if count == len(faces.probes) else _DRAWS)
        ]
        draws = [ask(faces, one) for one in drawn]
        for rule, those, scored in (
            ("raw", faces, best_reference),
            ("raw, crops alone", alone, best_reference),
            ("raw, a mean reference", faces, with_mean_reference),
            ("raw, less 50 next", faces, less_half_of_50_next),
        ):
            results += _with_hindsight(count, rule, [ask(those, one, scored) for one in drawn])
        results.append(_result(count, "fixed", None, draws, [_FIXED] * len(draws)))
        for wanted in WANTED:
            points = [limits(engine, one.tail, wanted).point for one in draws]
            results.append(_result(count, "strangers_named", wanted, draws, points))
    everybody = ask(faces, np.arange(len(faces.probes)))
    for people in SIMULATED:
        for wanted in WANTED:
            tail = everybody.tail._replace(references=round(people * _PHOTOS_EACH))
            point = limits(engine, tail, wanted).point
            results.append(
                {
                    "people": people, "rule": "simulated", "wanted": wanted, "threshold": round(point.threshold, 3),
                    "fpir": None, "from": None, "to": None, "named": round(float((everybody.own >= point.threshold).mean()), 4), "wrong": None,
                }
            )  # fmt: skip
    return results


def _with_hindsight(count: int, rule: str, draws: list[Asked]) -> list[dict[str, Any]]:
    """A result for each wanted share, at the threshold that this share of all draws' strangers reaches."""
    first = np.concatenate([one.first for one in draws])
    points = {wanted: WorkingPoint(float(np.quantile(first, 1 - wanted)), 0.0) for wanted in WANTED}
    return [_result(count, rule, wanted, draws, [point] * len(draws)) for wanted, point in points.items()]


def measure_pairs(faces: Faces, alone: Faces) -> list[dict[str, Any]]:
    """Two photos of one person, judged each by itself, and together."""
    return [
        line
        for rule, those in (("two photos", faces), ("two photos, crops alone", alone))
        for line in _pairs(those, rule)
    ]


def _pairs(faces: Faces, rule: str) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    photos = [[*faces.enrolled[faces.persons == person], faces.probes[person]] for person in faces.whose]
    several = [person for person in faces.whose if len(photos[person]) > 2]
    others = [photos[person][0] for person in faces.whose if len(photos[person]) == 2]
    firsts: dict[str, list[Vectors]] = {"both": [], "mean": []}
    owns: dict[str, list[Vectors]] = {"both": [], "mean": []}
    for _ in range(_DRAWS):
        shuffled = rng.permutation(several)
        known, strangers = shuffled[: len(several) // 2], shuffled[len(several) // 2 :]
        references = np.stack([*(photos[person][0] for person in known), *others, *faces.strangers])
        for kept, scores in ((firsts, _two(photos, strangers, references)), (owns, _two(photos, known, references))):
            for name, found in scores.items():
                mine = found.diagonal() * (found.argmax(axis=1) == np.arange(len(found)))
                kept[name].append(found.max(axis=1) if kept is firsts else mine)
    lines = []
    for name in ("both", "mean"):
        first, own = np.concatenate(firsts[name]), np.concatenate(owns[name])
        for wanted in WANTED:
            threshold = float(np.quantile(first, 1 - wanted))
            lines.append(
                {
                    "people": len(references), "rule": f"{rule}: {name}", "wanted": wanted, "threshold": round(threshold, 3),
                    "fpir": round(float((first > threshold).mean()), 5), "from": None, "to": None,
                    "named": round(float((own > threshold).mean()), 4), "wrong": None,
                }
            )  # fmt: skip
    return lines


def _two(photos: list[list[Vectors]], people: NDArray[np.intp], references: Vectors) -> dict[str, Vectors]:
    """The scores (n, m) of the second and third photo of `people`: the lower of the two, and that of their mean."""
    second, third = (np.stack([photos[person][number] for person in people]) for number in (1, 2))
    mean = second + third
    mean /= np.linalg.norm(mean, axis=1, keepdims=True)
    return {"both": np.minimum(second @ references.T, third @ references.T), "mean": mean @ references.T}


def measure_tracks(faces: Faces, engine: ArcFaceEngine) -> list[dict[str, Any]]:
    """The films with everybody of lfw_dev enrolled: which share of their tracks gets a name."""
    references = np.concatenate([faces.enrolled, faces.strangers])
    names = [f"p{person}" for person in faces.persons] + [f"s{number}" for number in range(len(faces.strangers))]
    gallery = Unchanging([Batch(range(1, len(names) + 1), names, [None] * len(names), references)], lambda _: None)
    results = []
    for rule, wanted, threshold in (
        ("tracks, fixed", None, _FIXED.threshold),
        *(("tracks", one, None) for one in WANTED),
    ):
        settings = {"source": "film.mp4", "realtime": False} | ({} if threshold is None else {"threshold": threshold})
        document = {"recognition": {"strangers_named": wanted or 0.001}, "cameras": {"film": settings}}
        camera = parse_settings(document, Path("site.toml"), {}).camera("film")
        verdicts: list[str] = []
        for film in sorted(VIDEOS.glob("*.mp4")):
            pipeline = CameraPipeline(camera, engine, gallery)
            events = [event for frame in frames_of(film) for event in pipeline.process(frame)]
            verdicts += [str(event.verdict) for event in (*events, *pipeline.finish()) if event.event == "left"]
        named = verdicts.count("named")
        results.append(
            {
                "people": len(set(names)), "rule": rule, "wanted": wanted, "threshold": round(pipeline.limits.point.threshold, 3),
                "fpir": round(named / len(verdicts), 5), "from": None, "to": round(upper_bound(named, len(verdicts)), 5),
                "named": None, "wrong": None, "tracks": len(verdicts),
            }
        )  # fmt: skip
    return results


class Unchanging(MemoryGallery):
    """A gallery as a camera sees it that nobody changes."""

    fingerprint = ""

    def refresh(self) -> bool:
        return False


def frames_of(film: Path) -> Iterator[Frame]:
    """The frames of a film that a camera with the default settings looks at."""
    video = cv2.VideoCapture(str(film))
    step = max(1, round(video.get(cv2.CAP_PROP_FPS) / _FRAMES_PER_S))
    number = 0
    while video.grab():
        if number % step == 0:
            read, image = video.retrieve()
            if not read:
                break
            time_s = number / (step * _FRAMES_PER_S)
            yield Frame(np.asarray(image, np.uint8), time_s, 1_700_000_000 + time_s, time_s)
        number += 1
    video.release()


def _result(
    people: int, rule: str, wanted: float | None, draws: list[Asked], points: list[WorkingPoint]
) -> dict[str, Any]:
    named = [one.fpir(point) for one, point in zip(draws, points, strict=True)]
    low, high = _interval(named)
    shares = np.array([one.named(point) for one, point in zip(draws, points, strict=True)]).mean(axis=0)
    return {
        "people": people, "rule": rule, "wanted": wanted,
        "threshold": round(float(np.mean([point.threshold for point in points])), 3),
        "fpir": round(float(np.mean(named)), 5), "from": round(low, 5), "to": round(high, 5),
        "named": round(float(shares[0]), 4), "wrong": round(float(shares[1]), 5),
    }  # fmt: skip


def draw(faces: Faces, target: Path) -> None:
    """Two panels: people named against strangers named, by size; and how well the confidence is calibrated."""
    mpl = importlib.import_module("matplotlib")  # by name: only this command needs it
    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "rollcall", "svg.fonttype": "none"})
    pyplot = importlib.import_module("matplotlib.pyplot")
    figure, (curves, promise) = pyplot.subplots(1, 2, figsize=(9.6, 4.2), layout="constrained")
    rng = np.random.default_rng(0)
    for size, colour in zip(SIZES, ("#7a4fbf", "#1d3c78", "#0b6e4f", "#c1440e"), strict=True):
        count = min(size, len(faces.probes))
        asked = [ask(faces, np.sort(rng.choice(len(faces.probes), count, replace=False))) for _ in range(10)]
        first, own, other = (
            np.concatenate([getattr(one, name) for one in asked]) for name in ("first", "own", "other")
        )
        thresholds = np.linspace(0.3, 0.7, 161)
        fpir = [float((first >= threshold).mean()) for threshold in thresholds]
        named = [float(((own >= threshold) & (own > other)).mean()) for threshold in thresholds]
        curves.plot(fpir, named, color=colour, label=f"{count} people")
        fixed = float(np.mean([one.fpir(_FIXED).mean() for one in asked]))
        curves.plot([fixed], [np.mean([one.named(_FIXED)[0] for one in asked])], "o", color=colour, mfc="white")
        for wanted in WANTED:
            shown = [(one, WorkingPoint(StrangerScores(LAW, one.tail).score_reached_by(wanted), 0.05)) for one in asked]
            got = float(np.mean([one.fpir(point).mean() for one, point in shown]))
            curves.plot([max(got, 2e-4)], [np.mean([one.named(point)[0] for one, point in shown])], "D", color=colour)
        promised = np.logspace(-3, -0.3, 28)
        reached = [
            float(
                np.mean([(one.first >= StrangerScores(LAW, one.tail).score_reached_by(share)).mean() for one in asked])
            )
            for share in promised
        ]
        promise.plot(promised, np.maximum(reached, 1e-4), color=colour, label=f"{count} people")
    curves.set(
        xscale="log",
        xlim=(2e-4, 0.2),
        ylim=(0.88, 1.0),
        xlabel="strangers named (FPIR)",
        ylabel="people named (1 - FNIR)",
    )
    curves.set_title("○ threshold 0.45   ◆ strangers_named 0.001, 0.01", fontsize=10)
    promise.plot([1e-3, 0.5], [1e-3, 0.5], color="#555555", linestyle=":", label="as promised")
    promise.set(xscale="log", yscale="log", xlabel="1 - confidence", ylabel="share of strangers who reach it")
    promise.set_title("How well the confidence is calibrated", fontsize=10)
    for axes in (curves, promise):
        axes.grid(visible=True, which="major", alpha=0.3)
        axes.legend(frameon=False, fontsize=8)
    figure.savefig(target, metadata={"Date": None})
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the curves into FILE, as SVG")
    given = parser.parse_args()
    engine = ArcFaceEngine(SMALL_PACK, det_size=320, threads=2)
    faces = load(engine, FACES / "lfw_dev")
    engine.mirrors = False
    alone = load(engine, FACES / "lfw_dev")
    films = measure_tracks(faces, ArcFaceEngine(SMALL_PACK, det_size=640, threads=2))
    print_report([*measure(faces, alone, engine), *measure_pairs(faces, alone), *films], as_json=given.json)
    if given.plot:
        draw(faces, given.plot)


if __name__ == "__main__":
    main()
