"""`identify` on photos: the verdict's rule, the form of the answer, and the promised accuracy on real people."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from shared.errors import RefusedError
from shared.gallery.match import Candidate
from shared.photos.reading import read_photo
from tests.support.paths import FACES, SMALL_PACK, astronaut, needs_data, needs_dlib, no_faces, six_faces
from workers.photos.embedding import embed_photo
from workers.photos.identify import Verdict, identify_photo, single_verdict
from workers.photos.naming import people_in
from workers.recognition.engine import Engine, Vectors
from workers.recognition.working_point import WorkingPoint


class PlainGallery:
    """Float32 brute force over every reference: the best of each person's, best person first."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.references: list[Vectors] = []

    def add(self, person: str, embedding: Vectors) -> None:
        self.names.append(person)
        self.references.append(embedding)

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
    ("scores", "word", "person"),
    [
        ((), "unknown", None),
        ((0.44,), "unknown", None),
        ((0.45,), "named", "p0"),
        ((0.80, 0.75), "named", "p0"),
        ((0.80, 0.7501), "uncertain", None),
        ((0.50, 0.50), "uncertain", None),
        ((0.40, 0.39), "unknown", None),
    ],
)
def test_single_verdict(scores: tuple[float, ...], word: str, person: str | None) -> None:
    """Threshold and margin both reached name; the margin alone missing is uncertain; below the threshold is unknown."""
    verdict = single_verdict(people(*scores), WorkingPoint(0.45, 0.05 - 1e-9))
    assert (verdict.word, verdict.person) == (word, person)
    assert verdict.score == (scores[0] if scores else None)


def test_margin_is_to_the_second_person() -> None:
    """The margin told is the one judged by; without a second person there is none."""
    assert single_verdict(people(0.9, 0.6, 0.5), WorkingPoint(0.45, 0.05)).margin == pytest.approx(0.3)
    assert single_verdict(people(0.9), WorkingPoint(0.45, 0.05)) == Verdict("named", "p0", 0.9, None)


@needs_dlib
def test_answer_has_the_agreed_form(engine: Engine) -> None:
    """The one enrolled face of six is named, five are unknown, and the whole is JSON with the agreed keys."""
    image = read_photo(six_faces())
    known = engine.detect(image)[2]
    gallery = PlainGallery()
    mirrored = np.ascontiguousarray(engine.crop(image, known)[:, ::-1])
    gallery.add("Third", engine.embed([mirrored])[0])
    answer = identify_photo(six_faces(), engine, gallery, WorkingPoint(engine.threshold, engine.margin)).to_json()
    assert json.loads(json.dumps(answer)) == answer
    assert (set(answer), answer["path"], answer["error"]) == ({"path", "error", "faces"}, str(six_faces()), None)
    keys = {"box", "det_score", "person", "verdict", "score", "margin", "candidates"}
    assert [set(face) for face in answer["faces"]] == [keys] * 6
    assert [face["person"] for face in answer["faces"]] == [None, None, "Third", None, None, None]
    assert [face["verdict"] for face in answer["faces"]].count("unknown") == 5
    assert answer["faces"][2]["box"] == [round(side, 1) for side in known.box]
    assert answer["faces"][2]["candidates"] == [{"person": "Third", "score": answer["faces"][2]["score"]}]


@needs_dlib
def test_photos_without_faces_and_bad_photos(engine: Engine, tmp_path: Path) -> None:
    """No face is an empty list without error; a bad photo is an error without faces."""
    assert identify_photo(no_faces(), engine, PlainGallery(), WorkingPoint(0.9, 0.0)).to_json() == {
        "path": str(no_faces()),
        "error": None,
        "faces": [],
    }
    (tmp_path / "empty.jpg").touch()
    answer = identify_photo(tmp_path / "empty.jpg", engine, PlainGallery(), WorkingPoint(0.9, 0.0)).to_json()
    assert answer["faces"] == []
    assert "the file is empty" in answer["error"]


@needs_dlib
def test_empty_gallery_knows_nobody(engine: Engine) -> None:
    """With nobody enrolled a face is unknown, without score."""
    (face,) = identify_photo(astronaut(), engine, PlainGallery(), WorkingPoint(0.9, 0.0)).to_json()["faces"]
    assert (face["verdict"], face["score"], face["margin"], face["candidates"]) == ("unknown", None, None, [])


@needs_dlib
def test_faces_that_are_too_small_are_not_judged(engine: Engine) -> None:
    """Below `min_face_px` a face is uncertain, whoever it looks like, and the others keep their own answers."""
    gallery = PlainGallery()
    gallery.add("Somebody", embed_photo(engine, astronaut()).embedding)
    widths = [face.width for face in engine.detect(read_photo(six_faces()))]
    limit = round(sorted(widths)[3])
    answer = identify_photo(six_faces(), engine, gallery, WorkingPoint(0.0, 0.0), min_face_px=limit).to_json()
    verdicts = [(face["verdict"], face["score"] is None, face["candidates"] == []) for face in answer["faces"]]
    assert verdicts == [("uncertain", True, True) if width < limit else ("named", False, False) for width in widths]


@needs_dlib
def test_boxes_are_in_the_photos_own_pixels(engine: Engine, tmp_path: Path) -> None:
    """A photo that was decoded at half its size reports boxes in the size that it has."""
    image = cv2.resize(read_photo(astronaut()), (4096, 4096))
    cv2.imwrite(str(tmp_path / "large.jpg"), image)
    (small,) = identify_photo(astronaut(), engine, PlainGallery(), WorkingPoint(0.9, 0.0)).to_json()["faces"]
    (large,) = identify_photo(tmp_path / "large.jpg", engine, PlainGallery(), WorkingPoint(0.9, 0.0)).to_json()["faces"]
    assert np.allclose(np.array(large["box"]) / 8, small["box"], atol=12)


@needs_dlib
@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_sideways_photo_is_turned_and_its_boxes_are_its_own(engine: Engine, tmp_path: Path, quarters: int) -> None:
    """A photo on its side or its head that does not say so: the face is found, at its place in the photo as it lies there."""
    gallery = PlainGallery()
    gallery.add("Somebody", embed_photo(engine, astronaut()).embedding)
    (upright,) = identify_photo(astronaut(), engine, gallery, WorkingPoint(0.9, 0.0)).to_json()["faces"]
    image = read_photo(astronaut())
    side = image.shape[0]
    assert image.shape == (side, side, 3)
    wide = np.pad(image, ((0, 0), (0, 60), (0, 0)))
    cv2.imwrite(str(tmp_path / "turned.png"), np.rot90(wide, quarters))
    (face,) = identify_photo(tmp_path / "turned.png", engine, gallery, WorkingPoint(0.9, 0.0)).to_json()["faces"]
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
            {
                face["person"]
                for face in identify_photo(path, engine, gallery, WorkingPoint(0.45, 0.05)).to_json()["faces"]
            }
            - {None},
        )
        for person, paths in photos.items()
        for path in paths[3:]
    ]
    assert len(named) == 90
    assert [(person, names) for person, names in named if names - {person}] == []
    assert sum(names == {person} for person, names in named) >= 0.98 * len(named)
