"""`identify` on photos: the verdict's rule, the form of the answer, and the promised accuracy on real people."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import RefusedError
from shared.gallery.match import Candidate
from shared.gallery.tail import Tail
from shared.photos.reading import read_photo
from tests.support.paths import FACES, SMALL_PACK, astronaut, needs_data, needs_dlib, no_faces, six_faces
from workers.photos.embedding import embed_photo
from workers.photos.identify import identify_photo, single_verdict
from workers.photos.naming import people_in
from workers.pipeline.voting import Crop, Rules, decide
from workers.recognition.engine import Engine, Vectors
from workers.recognition.false_match_law import FalseMatchLaw, StrangerScores
from workers.recognition.working_point import Limits, WorkingPoint

LAW = FalseMatchLaw(((0.0, 0.5), (0.5, 1e-6)))


def by_hand(threshold: float, margin: float, references: int = 100) -> Limits:
    return Limits(WorkingPoint(threshold, margin), "set by hand", StrangerScores(LAW, Tail(references)))


class PlainGallery:
    """Float32 brute force over every reference: the best of each person's, best person first."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.references: list[Vectors] = []

    def add(self, person: str, embedding: Vectors) -> None:
        self.names.append(person)
        self.references.append(embedding)

    @property
    def tail(self) -> Tail:
        return Tail(len(self.names))

    def match(self, probes: Vectors, k: int = 2) -> list[list[Candidate]]:
        if not self.names:
            return [[] for _ in probes]
        answers = []
        for scores in probes @ np.array(self.references).T:
            best: dict[str, float] = {}
            for name, score in zip(self.names, scores.tolist(), strict=True):
                best[name] = max(score, best.get(name, -1.0))
            ranked = sorted(best.items(), key=lambda pair: -pair[1])[:k]
            answers.append([Candidate(name, None, score) for name, score in ranked])
        return answers


@pytest.fixture(scope="module")
def engine() -> Engine:
    from workers.recognizer_dlib import DlibEngine

    return DlibEngine(det_size=640)


def people(*scores: float) -> list[Candidate]:
    return [Candidate(f"p{index}", None, score) for index, score in enumerate(scores)]


@pytest.mark.parametrize(
    ("scores", "clear", "word", "person"),
    [
        ((), True, "unknown", None),
        ((), False, "uncertain", None),
        ((0.44,), True, "uncertain", None),
        ((0.45,), True, "named", "p0"),
        ((0.45,), False, "named", "p0"),
        ((0.80, 0.75), True, "named", "p0"),
        ((0.80, 0.7501), True, "uncertain", None),
        ((0.50, 0.50), True, "uncertain", None),
        ((0.40, 0.39), True, "unknown", None),
        ((0.40, 0.39), False, "uncertain", None),
        ((0.41, 0.39), True, "uncertain", None),
    ],
)
def test_single_verdict(scores: tuple[float, ...], clear: bool, word: str, person: str | None) -> None:
    """Threshold and margin both reached name; the margin alone missing, a near miss, and a face that is not clear are uncertain; a clear
    face far below the threshold is unknown."""
    verdict = single_verdict(people(*scores), by_hand(0.45, 0.05 - 1e-9), clear=clear)
    assert (verdict.word, verdict.person) == (word, person)
    assert verdict.score == (scores[0] if scores else None)


@given(
    st.lists(st.floats(-1, 1), max_size=3).map(lambda scores: sorted(scores, reverse=True)),
    st.floats(0.2, 0.9),
    st.floats(0, 0.2),
    st.booleans(),
)
def test_a_photo_and_a_track_of_one_crop_get_the_same_verdict(
    scores: list[float], threshold: float, margin: float, clear: bool
) -> None:
    """`identify` and films agree on what *uncertain* is, whatever the scores and the limits."""
    crop = Crop(1.0, np.zeros(1, np.float32), people(*scores), clear)
    track = decide([crop], Rules(threshold, margin, votes=1))
    photo = single_verdict(people(*scores), by_hand(threshold, margin), clear=clear)
    assert (photo.word, photo.person) == (track.verdict, track.person)


def test_margin_is_to_the_second_person() -> None:
    """The margin told is the one judged by; without a second person there is none."""
    assert single_verdict(people(0.9, 0.6, 0.5), by_hand(0.45, 0.05), clear=True).margin == pytest.approx(0.3)
    assert single_verdict(people(0.9), by_hand(0.45, 0.05), clear=True)[:4] == ("named", "p0", 0.9, None)


def test_confidence_falls_with_the_size_of_the_gallery() -> None:
    """It is one less the share of strangers who reach the score: with ten times the references, ten times as many."""
    small, large = (
        single_verdict(people(0.5), by_hand(0.45, 0.05, references=count), clear=True).confidence
        for count in (100, 1000)
    )
    assert small == pytest.approx(1 - 1e-4, rel=1e-4)
    assert large == pytest.approx(1 - 1e-3, rel=1e-3)


@needs_dlib
def test_answer_has_the_agreed_form(engine: Engine) -> None:
    """The one enrolled face of six is named, five are unknown, and the whole is JSON with the agreed keys."""
    image = read_photo(six_faces())
    known = engine.detect(image)[2]
    gallery = PlainGallery()
    mirrored = np.ascontiguousarray(engine.crop(image, known)[:, ::-1])
    gallery.add("Third", engine.embed([mirrored])[0])
    answer = identify_photo(six_faces(), engine, gallery, by_hand(engine.threshold, engine.margin)).to_json()
    assert json.loads(json.dumps(answer)) == answer
    assert (set(answer), answer["path"], answer["error"]) == ({"path", "error", "faces"}, str(six_faces()), None)
    keys = {"box", "det_score", "person", "verdict", "score", "margin", "confidence", "candidates"}
    assert [set(face) for face in answer["faces"]] == [keys] * 6
    assert [face["person"] for face in answer["faces"]] == [None, None, "Third", None, None, None]
    assert [face["verdict"] for face in answer["faces"]].count("unknown") == 5
    assert answer["faces"][2]["box"] == [round(side, 1) for side in known.box]
    assert answer["faces"][2]["candidates"] == [{"person": "Third", "score": answer["faces"][2]["score"]}]


@needs_dlib
def test_photos_without_faces_and_bad_photos(engine: Engine, tmp_path: Path) -> None:
    """No face is an empty list without error; a bad photo is an error without faces."""
    assert identify_photo(no_faces(), engine, PlainGallery(), by_hand(0.9, 0.0)).to_json() == {
        "path": str(no_faces()),
        "error": None,
        "faces": [],
    }
    (tmp_path / "empty.jpg").touch()
    answer = identify_photo(tmp_path / "empty.jpg", engine, PlainGallery(), by_hand(0.9, 0.0)).to_json()
    assert answer["faces"] == []
    assert "the file is empty" in answer["error"]


@needs_dlib
def test_empty_gallery_knows_nobody(engine: Engine) -> None:
    """With nobody enrolled a face is unknown, without score."""
    (face,) = identify_photo(astronaut(), engine, PlainGallery(), by_hand(0.9, 0.0)).to_json()["faces"]
    assert (face["verdict"], face["score"], face["margin"], face["candidates"]) == ("unknown", None, None, [])


@needs_dlib
def test_faces_that_are_too_small_are_not_judged(engine: Engine) -> None:
    """Below `min_face_px` a face is uncertain, whoever it looks like, and the others keep their own answers."""
    gallery = PlainGallery()
    gallery.add("Somebody", embed_photo(engine, astronaut()).embedding)
    widths = [face.width for face in engine.detect(read_photo(six_faces()))]
    limit = round(sorted(widths)[3])
    answer = identify_photo(six_faces(), engine, gallery, by_hand(0.0, 0.0), min_face_px=limit).to_json()
    verdicts = [(face["verdict"], face["score"] is None, face["candidates"] == []) for face in answer["faces"]]
    assert verdicts == [("uncertain", True, True) if width < limit else ("named", False, False) for width in widths]


@needs_dlib
def test_boxes_are_in_the_photos_own_pixels(engine: Engine, tmp_path: Path) -> None:
    """A photo that was decoded at half its size reports boxes in the size that it has."""
    image = cv2.resize(read_photo(astronaut()), (4096, 4096))
    cv2.imwrite(str(tmp_path / "large.jpg"), image)
    (small,) = identify_photo(astronaut(), engine, PlainGallery(), by_hand(0.9, 0.0)).to_json()["faces"]
    (large,) = identify_photo(tmp_path / "large.jpg", engine, PlainGallery(), by_hand(0.9, 0.0)).to_json()["faces"]
    assert np.allclose(np.array(large["box"]) / 8, small["box"], atol=12)


@needs_dlib
@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_sideways_photo_is_turned_and_its_boxes_are_its_own(engine: Engine, tmp_path: Path, quarters: int) -> None:
    """A photo on its side or its head that does not say so: the face is found, at its place in the photo as it lies there."""
    gallery = PlainGallery()
    gallery.add("Somebody", embed_photo(engine, astronaut()).embedding)
    (upright,) = identify_photo(astronaut(), engine, gallery, by_hand(0.9, 0.0)).to_json()["faces"]
    image = read_photo(astronaut())
    side = image.shape[0]
    assert image.shape == (side, side, 3)
    wide = np.pad(image, ((0, 0), (0, 60), (0, 0)))
    cv2.imwrite(str(tmp_path / "turned.png"), np.rot90(wide, quarters))
    (face,) = identify_photo(tmp_path / "turned.png", engine, gallery, by_hand(0.9, 0.0)).to_json()["faces"]
    assert face["person"] == "Somebody"
    marked = np.zeros(wide.shape[:2], bool)
    x1, y1, x2, y2 = (round(one) for one in upright["box"])
    marked[y1:y2, x1:x2] = True
    rows, columns = np.nonzero(np.rot90(marked, quarters))
    assert np.allclose(face["box"], [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], atol=12)


@needs_data
def test_real_people_are_named_right_and_nobody_wrong() -> None:
    """lfw_mini at 0.45: of the photos beyond each person's first three, 98 % are named right and none wrong."""
    from workers.recognizer_arcface import ArcFaceEngine

    engine = ArcFaceEngine(SMALL_PACK, det_size=640, threads=2)
    photos: dict[str, list[Path]] = {}
    for person, path in people_in([FACES / "lfw_mini"]).pairs:
        photos.setdefault(person, []).append(path)
    gallery = PlainGallery()
    for person, paths in photos.items():
        for path in paths[:3]:
            try:
                gallery.add(person, embed_photo(engine, path).embedding)
            except RefusedError as refusal:
                assert "it can't be told whose photo" in refusal.what  # LFW has bystanders
    named = [
        (
            person,
            {face["person"] for face in identify_photo(path, engine, gallery, by_hand(0.45, 0.05)).to_json()["faces"]}
            - {None},
        )
        for person, paths in photos.items()
        for path in paths[3:]
    ]
    assert len(named) == 90
    assert [(person, names) for person, names in named if names - {person}] == []
    assert sum(names == {person} for person, names in named) >= 0.98 * len(named)
