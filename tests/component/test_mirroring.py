"""Embeddings that count a face's mirror image, with the test data's model pack."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from shared.gallery.memory import MemoryGallery
from shared.photos.reading import read_photo
from tests.support.paths import SMALL_PACK, needs_data, six_faces
from tests.support.tiny_pack import write_pack
from workers.photos.embedding import embed_image
from workers.photos.identify import identify_image
from workers.recognition.engine import Engine, Image, Vectors
from workers.recognition.mirroring import embed_with_mirrors, with_mirrors
from workers.recognition.model_description import ModelDescription
from workers.recognition.working_point import limits
from workers.recognizer_arcface import ArcFaceEngine
from workers.sharing.models import SharedModel

pytestmark = needs_data


@pytest.fixture(scope="module")
def engine() -> ArcFaceEngine:
    return ArcFaceEngine(SMALL_PACK, det_size=640, threads=1)


@pytest.fixture(scope="module")
def crops(engine: Engine) -> list[Image]:
    image = read_photo(six_faces())
    return [engine.crop(image, face) for face in engine.detect(image)]


def test_a_face_and_its_mirror_image_have_the_same_embedding(engine: Engine, crops: list[Image]) -> None:
    """It is the mean of both crops' embeddings, of unit norm, and near each of them; that of other people is as far as before."""
    both = embed_with_mirrors(engine, crops)
    turned = embed_with_mirrors(engine, [np.ascontiguousarray(crop[:, ::-1]) for crop in crops])
    assert np.abs(both - turned).max() < 1e-5
    assert np.linalg.norm(both, axis=1) == pytest.approx(np.ones(len(crops)), abs=1e-6)
    alone = engine.embed(crops)
    assert np.vecdot(both, alone).min() > 0.9
    assert np.abs(both - alone).max() > 0.01
    assert (both @ both.T)[~np.eye(6, dtype=bool)].max() < 0.35
    assert np.array_equal(with_mirrors(engine, crops, alone), both)
    assert embed_with_mirrors(engine, []).shape == (0, engine.dim)


def test_photos_are_embedded_so(engine: ArcFaceEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """When somebody is enrolled, and in `identify`."""
    image = read_photo(six_faces())
    face = engine.detect(image)[0]
    x1, y1, x2, y2 = (round(side) for side in face.box)
    alone = np.ascontiguousarray(image[y1 - 60 : y2 + 60, x1 - 60 : x2 + 60])
    enrolled = embed_image(engine, alone)
    assert np.array_equal(enrolled.embedding, embed_with_mirrors(engine, [enrolled.crop])[0])
    pictures: list[int] = []
    embed = engine.embed

    def counted(crops: list[Image]) -> Vectors:
        pictures.append(len(crops))
        return embed(crops)

    monkeypatch.setattr(engine, "embed", counted)

    gallery = MemoryGallery([], lambda _: None)
    identify_image(image, engine, gallery, limits(engine, gallery.tail, 0.001))
    assert pictures == [6, 6]


def test_a_pack_can_do_without(engine: ArcFaceEngine, crops: list[Image], tmp_path: Path) -> None:
    """Then an embedding is the crop's own; cameras learn it of the process that runs the models."""
    bare = ArcFaceEngine(write_pack(tmp_path / "tiny"), det_size=320, threads=1)
    assert bare.mirrors
    bare.mirrors = False
    assert np.array_equal(embed_with_mirrors(bare, crops), bare.embed(crops))
    for one in (engine, bare):
        told = ModelDescription.from_json(json.loads(json.dumps(SharedModel(one).description.to_json())))
        assert told.mirrors is one.mirrors
