"""Nobody is lost by decoding on demand: composed scenes as a camera sends them, decoded on demand and whole, beside the truth."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.settings.file import parse_settings
from tests.support.camera_streams import scene_stream
from tests.support.paths import SMALL_PACK, needs_data
from tests.support.photo_faces import Cast, PhotoFaces
from tests.support.scene_scripts import (
    SCRIPTS,
    Script,
    Stage,
    comes_nearer,
    leaves_and_returns,
    one_walks_through,
    stands_still,
)
from tests.support.scene_truth import judge
from tests.support.scenes import FRAMES_PER_S
from tests.support.watched_stream import watch_stream
from workers.capture.decode_policy import DecodePolicy
from workers.pipeline.pipeline import CameraPipeline
from workers.recognition.engine import Engine

pytestmark = needs_data

_EMPTY_S = 14.0
_SLACK_S = 0.25  # a picture more or less at 5 a second


@pytest.fixture(scope="module")
def engine() -> Engine:
    from workers.recognizer_arcface import ArcFaceEngine

    return ArcFaceEngine(SMALL_PACK, det_size=640, threads=1)


@pytest.fixture(scope="module")
def cast() -> Cast:
    from workers.recognizer_arcface import ArcFaceEngine

    return Cast(PhotoFaces(ArcFaceEngine(SMALL_PACK, det_size=320, threads=1)), 0)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "script", [one_walks_through, comes_nearer, leaves_and_returns, stands_still], ids=lambda script: script.__name__
)
def test_no_person_second_is_lost(tmp_path: Path, engine: Engine, cast: Cast, script: Script) -> None:
    """Asleep when they come, and whoever is named when everything is decoded is named for as long on demand."""
    scene = script(Stage(cast, SCRIPTS.index(script))).after(_EMPTY_S)
    path = scene_stream(tmp_path / "scene.ts", map(scene.render, range(scene.frames)), FRAMES_PER_S)
    document = {"cameras": {"scene": {"source": "scene.ts", "realtime": False}}}
    camera = parse_settings(document, Path("site.toml"), {}).camera("scene")
    policy = DecodePolicy(camera.min_face_px)
    on_demand = watch_stream(path, CameraPipeline(camera, engine, cast.gallery()), policy, FRAMES_PER_S)
    whole = watch_stream(path, CameraPipeline(camera, engine, cast.gallery()), None, FRAMES_PER_S)
    assert on_demand.asleep_s > 3.0
    assert on_demand.decoded < whole.decoded
    ours, theirs = judge(scene, on_demand.events), judge(scene, whole.events)
    assert ours.wrong == []
    assert theirs.named_s > 0.7 * theirs.seconds
    assert ours.named_s >= theirs.named_s - _SLACK_S * len(scene.actors), (ours.line(), theirs.line())
