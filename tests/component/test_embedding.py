"""Whose photo it is, and which of its faces counts."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import cv2
import numpy as np
import pytest

from shared.errors import RefusedError
from shared.photos.reading import Image, read_photo
from tests.support.paths import FACES, SMALL_PACK, astronaut, needs_data, needs_dlib, no_faces, six_faces
from workers.photos.embedding import (
    embed_image,
    embed_photo,
    enrolment_gate,
    face_of_photo,
    refusal_reason,
    require_fit,
)
from workers.photos.naming import people_in, person_name
from workers.recognition.engine import Engine, Face, Points
from workers.recognition.quality import Gate


@pytest.fixture(scope="module")
def engine() -> Engine:
    from workers.recognizer_dlib import DlibEngine

    return DlibEngine(det_size=640)


def side_by_side(*heights: int) -> Image:
    """The astronaut several times, each picture this many pixels high."""
    image = read_photo(astronaut())
    canvas = np.zeros((max(heights), sum(heights), 3), np.uint8)
    left = 0
    for height in heights:
        canvas[:height, left : left + height] = cv2.resize(image, (height, height), interpolation=cv2.INTER_AREA)
        left += height
    return canvas


@needs_dlib
def test_photo_of_one_person_gives_a_reference(engine: Engine) -> None:
    """One face: its embedding of unit norm, its box and its crop."""
    enrolled = embed_photo(engine, astronaut())
    assert enrolled.embedding.shape == (engine.dim,)
    assert enrolled.embedding.dtype == np.float32
    assert np.isclose(np.linalg.norm(enrolled.embedding), 1)
    assert enrolled.crop.shape == (150, 150, 3)
    assert 150 < enrolled.face.box[0] < 250


@needs_dlib
def test_largest_face_counts_when_it_is_clearly_largest(engine: Engine) -> None:
    """With a bystander of less than half the area the large face is taken; with an equal one the photo is refused."""
    face = face_of_photo(engine, side_by_side(512, 300))
    assert face.box[2] < 512
    with pytest.raises(RefusedError, match="2 faces, of which the largest is not twice"):
        face_of_photo(engine, side_by_side(512, 440))


@needs_dlib
def test_photos_without_one_clear_face_are_refused_by_name(engine: Engine) -> None:
    """No face, six faces, no photo: each refused with the photo and the reason."""
    for path, reason in (
        (no_faces(), "no face was found"),
        (six_faces(), "6 faces"),
        (Path("/no/such/photo.jpg"), "no such file"),
    ):
        with pytest.raises(RefusedError, match=reason) as refusal:
            embed_photo(engine, path)
        assert refusal.value.where == str(path)
        assert str(path) not in refusal_reason(refusal.value)


@needs_dlib
def test_what_no_camera_would_judge_is_no_reference(engine: Engine) -> None:
    """Too small, too dark, too bright: refused with what was measured and what to do; the photo itself is taken."""
    image, gate = read_photo(astronaut()), enrolment_gate(engine, 60)
    assert embed_image(engine, image, gate).embedding.shape == (engine.dim,)
    small = cv2.resize(image, (256, 256), interpolation=cv2.INTER_AREA)
    unfit = {
        "too small; got 4[0-9] pixels wide of 60": small,
        "too dark; got a mean grey of 1[0-9] of 255": (image * 0.1).astype(np.uint8),
        "too bright; got a mean grey of 2[0-9]+ of 255": np.clip(image * 0.15 + 215, 0, 255).astype(np.uint8),
    }
    for told, worse in unfit.items():
        with pytest.raises(RefusedError, match=told) as refusal:
            embed_image(engine, np.asarray(worse, np.uint8), gate)
        assert "take a " in refusal.value.remedy
        assert embed_image(engine, np.asarray(worse, np.uint8)).embedding.shape == (engine.dim,), "embedded anew"


def test_blurred_profile_and_hardly_a_face_are_refused() -> None:
    """Blurred, turned away or of a low detector score: each part that refuses is named, by what it measured."""
    crop = np.asarray(cv2.resize(read_photo(astronaut())[70:175, 170:275], (112, 112)), np.uint8)
    front = np.array([[38.3, 51.7], [73.5, 51.5], [56.0, 71.7], [41.5, 92.4], [70.7, 92.2]], np.float32)
    profile = front.copy()
    profile[1, 0] = 52
    box = (0.0, 0.0, 100.0, 130.0)
    require_fit(Gate(40), Face(box, front, 0.8), crop)
    with pytest.raises(RefusedError, match=r"turned away; got from the side: eyes apart 0\.3"):
        require_fit(Gate(40), Face(box, profile, 0.8), crop)
    with pytest.raises(
        RefusedError, match=r"hardly a face and the face is turned away; got a detector score of 0\.51, from"
    ):
        require_fit(Gate(40), Face(box, profile, 0.51), crop)
    blurred = np.asarray(cv2.GaussianBlur(crop, (0, 0), 4.0), np.uint8)
    with pytest.raises(RefusedError, match=r"blurred; got a sharpness of 0\.[12].* remedy: take a sharp photo"):
        require_fit(Gate(40), Face(box, front, 0.8), blurred)
    require_fit(Gate(40, points=Points.EYE_CORNERS_NOSE), Face(box, profile, 0.8), crop)


@needs_data
@pytest.mark.parametrize("name", ["insightface", pytest.param("dlib", marks=needs_dlib)])
def test_gate_refuses_no_good_photo(name: str) -> None:
    """Of 36 photos of the test data that show one clear face, every person's first, none is refused for its quality."""
    if name == "dlib":
        from workers.recognizer_dlib import DlibEngine

        chosen: Engine = DlibEngine(det_size=640)
    else:
        from workers.recognizer_arcface import ArcFaceEngine

        chosen = ArcFaceEngine(SMALL_PACK, det_size=640, threads=1)
    gate, taken = enrolment_gate(chosen, 40), 0
    firsts = dict(reversed(people_in([FACES / "lfw_mini", FACES / "friends_enrol"]).pairs))
    for photo in firsts.values():
        try:
            image = read_photo(photo)
            face = face_of_photo(chosen, image)
        except RefusedError:  # bystanders, or dlib sees no face
            continue
        require_fit(gate, face, chosen.crop(image, face))
        taken += 1
    assert taken >= 30


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Two people's folders, a loose photo, and what belongs to nobody."""
    for name in ("Ada/2.jpg", "Ada/1.png", "Ada/notes.txt", "Grace H/x.jpeg", "Alan.webp", ".trash/y.jpg", "readme.md"):
        path = tmp_path / "album" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"not opened")
    (tmp_path / "album" / "Ada" / "deeper").mkdir()
    (tmp_path / "album" / "Ada" / "deeper" / "z.jpg").write_bytes(b"not opened")
    return tmp_path / "album"


def listed(album: Path, pairs: list[tuple[str, Path]]) -> list[tuple[str, str]]:
    return [(person, str(path.relative_to(album))) for person, path in pairs]


def test_folders_name_people_and_files_themselves(album: Path) -> None:
    """Each sub-folder is a person, a photo right in the folder is of the person it is named after."""
    expected = [("Ada", "Ada/1.png"), ("Ada", "Ada/2.jpg"), ("Alan", "Alan.webp"), ("Grace H", "Grace H/x.jpeg")]
    assert listed(album, people_in([album]).pairs) == expected


def test_name_overrides_files_and_folders(album: Path) -> None:
    """With a name, every photo of the folder is that person's, those of its sub-folders too."""
    photos = ["Ada/1.png", "Ada/2.jpg", "Ada/deeper/z.jpg"]
    assert listed(album, people_in([album / "Ada"], name="Countess").pairs) == [("Countess", photo) for photo in photos]
    assert people_in([album / "Alan.webp"], name="Turing").pairs == [("Turing", album / "Alan.webp")]


def test_photos_are_listed_once_and_missing_ones_too(album: Path) -> None:
    """What is given twice is enrolled once; what is missing stays in the list, for reading it gives the reason."""
    pairs = people_in([album / "Alan.webp", album, album / "Alan.webp", album / "gone.jpg"]).pairs
    assert [person for person, path in pairs if path.name == "Alan.webp"] == ["Alan"]
    assert pairs[-1] == ("gone", album / "gone.jpg")


def test_links_out_of_the_folder_are_not_followed(album: Path, tmp_path: Path) -> None:
    """Neither a link to a foreign folder nor one to a foreign photo enrols anybody."""
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "q.jpg").write_bytes(b"not opened")
    (album / "Mallory").symlink_to(tmp_path / "foreign")
    (album / "Eve.jpg").symlink_to(tmp_path / "foreign" / "q.jpg")
    assert not {"Mallory", "Eve"} & {person for person, _ in people_in([album]).pairs}


def test_names_are_stored_in_one_form() -> None:
    """The same name typed composed or decomposed, with or without space around, is one person."""
    decomposed = unicodedata.normalize("NFD", "Zoë Müller")
    assert person_name(f"  {decomposed}\t") == "Zoë Müller"


@pytest.mark.parametrize(
    "name",
    ["", "   ", ".", "..", ".hidden", "a/b", "a\nb", "a\0b", "a\u2028b", "a\x7fb", "\udcff", "x" * 201, "漢" * 100],
)
def test_unfit_names_are_refused(name: str) -> None:
    """What can't name a folder, or would tear a log line, is no name."""
    with pytest.raises(RefusedError, match="the name"):
        person_name(name)


def test_unfit_names_are_refused_and_the_rest_goes_on(tmp_path: Path) -> None:
    """Two bad names and one that is no UTF-8: each is refused by itself, the good one is enrolled."""
    for name in ("good", "bad\none", "x" * 240, "M\udcfcller"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.jpg").write_bytes(b"not opened")
    found = people_in([tmp_path])
    assert [person for person, _ in found.pairs] == ["good"]
    reasons = "\n".join(reason for _, reason in found.refused)
    assert len(found.refused) == 3
    for told in ("bad\\none", "240 characters", "bytes that are not UTF-8"):
        assert told in reasons
    with pytest.raises(RefusedError, match="the name"):
        people_in([tmp_path], name="a/b")
