"""How many strangers' tracks get a name, beside what was promised: by votes alone, and with the mean of the crops.

`python -m tests.benchmark.track_names [--engine insightface|dlib] [--json]`: needs the test data. The tracks of its films, whose people are in no
gallery, are judged against 300 people of lfw_dev, drawn 60 times, at the threshold that the promised share follows from. The shares are
high, so that few tracks can show them. One person has many tracks, and they look alike: a share can be off by half.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.embeddings import Batch
from shared.gallery.match import Candidate
from shared.gallery.tail import tail_of
from shared.settings.file import parse_settings
from tests.benchmark.names import Faces, Unchanging, Vectors, frames_of, load
from tests.benchmark.report import print_report
from tests.support.paths import FACES, SMALL_PACK, VIDEOS
from workers.capture.capture import Frame
from workers.pipeline.pipeline import CameraPipeline
from workers.pipeline.track_state import TrackState
from workers.pipeline.tracking import Track
from workers.pipeline.voting import Ballot, Crop, Rules
from workers.recognition.engine import Engine
from workers.recognition.false_match_law import StrangerScores

_PEOPLE, _DRAWS = 300, 60
_PROMISED = (0.3, 0.1, 0.03, 0.01)
_VOTES = 3


class _Recorded(Ballot):
    """A ballot that keeps all crops of its track."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.all: list[Crop] = []

    def add(self, crop: Crop) -> None:
        self.all.append(crop)
        super().add(crop)


class _LookedOn(CameraPipeline):
    """A pipeline whose tracks' crops are kept."""

    ballots: list[_Recorded]

    def _begin_state(self, track: Track, frame: Frame, time_s: float) -> TrackState:
        state = super()._begin_state(track, frame, time_s)
        state.ballot = _Recorded(self._rules, time_s)
        self.ballots.append(state.ballot)
        return state


def tracks_of(engine: Engine) -> list[list[Crop]]:
    """The crops of each track of the films, with nobody enrolled who could end it early. Tracks with too few crops for a name are left out."""
    somebody = np.eye(1, engine.dim, dtype=np.float32)
    gallery = Unchanging([Batch([1], ["nobody"], [None], somebody)], lambda _: None)
    settings = {"source": "film.mp4", "realtime": False, "threshold": 1.0}
    camera = parse_settings({"cameras": {"film": settings}}, Path("site.toml"), {}).camera("film")
    found: list[list[Crop]] = []
    for film in sorted(VIDEOS.glob("*.mp4")):
        pipeline = _LookedOn(camera, engine, gallery)
        pipeline.ballots = []
        for frame in frames_of(film):
            pipeline.process(frame)
        pipeline.finish()
        found += [ballot.all for ballot in pipeline.ballots if len(ballot.all) >= _VOTES]
    return found


def _best_two(probes: Vectors, references: Vectors, persons: NDArray[np.int32]) -> Iterator[list[Candidate]]:
    by_person = np.full((len(probes), int(persons.max()) + 1), -2, np.float32)
    np.maximum.at(by_person.T, persons, (probes @ references.T).T)
    order = np.argsort(by_person, axis=1)[:, :-3:-1]
    for scores, best in zip(by_person, order, strict=True):
        yield [Candidate(str(one), None, float(scores[one])) for one in best]


def is_named(crops: Sequence[Crop], means: Sequence[Sequence[Candidate]], rules: Rules, *, by_mean: bool) -> bool:
    """Whether the track gets a name at any time. `crops`, with what they match; `means`: what the mean after each of them matches."""
    ballot = Ballot(rules, 0.0)
    for crop, candidates in zip(crops, means, strict=True):
        ballot.add(crop)
        if by_mean and (probe := ballot.mean_probe()) is not None:
            ballot.take_mean(probe, candidates)
        if ballot.named is not None:
            return True
    return False


def measure(engine: Engine, faces: Faces, tracks: list[list[Crop]]) -> list[dict[str, Any]]:
    """A result for each promised share."""
    rng = np.random.default_rng(0)
    named: dict[tuple[float, bool], list[bool]] = {}
    for _ in range(_DRAWS):
        people = np.sort(rng.choice(len(faces.probes), min(_PEOPLE, len(faces.probes)), replace=False))
        rows = np.isin(faces.persons, people)
        references = faces.enrolled[rows]
        persons = np.searchsorted(people, faces.persons[rows]).astype(np.int32)
        strangers = StrangerScores(engine.law, tail_of(references, persons))
        for crops in tracks:
            embeddings = np.stack([crop.embedding for crop in crops])
            qualities = np.array([crop.quality for crop in crops], np.float32)
            sums = np.cumsum(embeddings * qualities[:, None], axis=0)
            means = list(_best_two(sums / np.linalg.norm(sums, axis=1, keepdims=True), references, persons))
            matched = [
                Crop(crop.quality, crop.embedding, candidates, crop.clear)
                for crop, candidates in zip(crops, _best_two(embeddings, references, persons), strict=True)
            ]
            for promised in _PROMISED:
                threshold = strangers.score_reached_by(promised)
                rules = Rules(threshold, engine.margin, _VOTES, engine.threshold)
                for by_mean in (False, True):
                    named.setdefault((promised, by_mean), []).append(is_named(matched, means, rules, by_mean=by_mean))
    return [
        {
            "engine": engine.name, "people": _PEOPLE, "tracks": len(tracks), "promised": promised,
            "by_votes": round(float(np.mean(named[promised, False])), 4),
            "with_mean": round(float(np.mean(named[promised, True])), 4),
        }
        for promised in _PROMISED
    ]  # fmt: skip  # a line each


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=["insightface", "dlib"], default="insightface")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    engine: Engine
    if given.engine == "dlib":
        from workers.recognizer_dlib import DlibEngine

        engine = DlibEngine(det_size=320)
    else:
        from workers.recognizer_arcface import ArcFaceEngine

        engine = ArcFaceEngine(SMALL_PACK, det_size=640, threads=1)
    print_report(measure(engine, load(engine, FACES / "lfw_dev"), tracks_of(engine)), as_json=given.json)


if __name__ == "__main__":
    main()
