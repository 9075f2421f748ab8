"""Whose photo it is, and which of its faces counts."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import cv2
import numpy as np
import pytest

from shared.errors import RefusedError
from shared.photos import Image, read_photo
from tests.data_paths import astronaut, needs_dlib, no_faces, six_faces
from workers.engines import Engine
from workers.enrolment import embed_photo, face_of_photo, people_in, person_name, refusal_reason


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
    assert listed(album, people_in([album])) == expected


def test_name_overrides_files_and_folders(album: Path) -> None:
    """With a name, every photo of the folder is that person's, those of its sub-folders too."""
    photos = ["Ada/1.png", "Ada/2.jpg", "Ada/deeper/z.jpg"]
    assert listed(album, people_in([album / "Ada"], name="Countess")) == [("Countess", photo) for photo in photos]
    assert people_in([album / "Alan.webp"], name="Turing") == [("Turing", album / "Alan.webp")]


def test_photos_are_listed_once_and_missing_ones_too(album: Path) -> None:
    """What is given twice is enrolled once; what is missing stays in the list, for reading it gives the reason."""
    pairs = people_in([album / "Alan.webp", album, album / "Alan.webp", album / "gone.jpg"])
    assert [person for person, path in pairs if path.name == "Alan.webp"] == ["Alan"]
    assert pairs[-1] == ("gone", album / "gone.jpg")


def test_links_out_of_the_folder_are_not_followed(album: Path, tmp_path: Path) -> None:
    """Neither a link to a foreign folder nor one to a foreign photo enrols anybody."""
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "q.jpg").write_bytes(b"not opened")
    (album / "Mallory").symlink_to(tmp_path / "foreign")
    (album / "Eve.jpg").symlink_to(tmp_path / "foreign" / "q.jpg")
    assert not {"Mallory", "Eve"} & {person for person, _ in people_in([album])}


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


def test_all_unfit_names_are_told_at_once(tmp_path: Path) -> None:
    """Two bad names: both are named, none is enrolled, so that one look is enough."""
    for name in ("good", "bad\none", "x" * 240):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.jpg").write_bytes(b"not opened")
    with pytest.raises(RefusedError) as refusal:
        people_in([tmp_path])
    assert "bad\\none" in str(refusal.value)
    assert "240 characters" in str(refusal.value)
