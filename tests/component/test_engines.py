"""Both engines on real pictures: what they find, what embeddings are, and what unfit models are answered."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from shared.errors import ConfigurationError, RefusedError
from shared.photos.reading import Image, read_photo
from shared.settings.file import parse_settings
from tests.support.paths import FACES, ROOT, SMALL_PACK, astronaut, needs_data, needs_dlib, no_faces, six_faces
from tests.support.tiny_pack import DIM, recogniser, write_pack
from workers import recognizer_dlib
from workers.models.opening import open_engine
from workers.recognition.engine import Engine, Face
from workers.recognition.fingerprint import fingerprint
from workers.recognition.onnx_session import open_session
from workers.recognition.pack import read_pack
from workers.recognition.recogniser import Recogniser
from workers.recognizer_arcface import LAW, ArcFaceEngine
from workers.recognizer_dlib import DlibEngine


def small_pack_engine() -> Engine:
    return ArcFaceEngine(SMALL_PACK, det_size=640, threads=1)


def dlib_engine() -> Engine:
    return DlibEngine(det_size=640)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(small_pack_engine, marks=needs_data, id="insightface"),
        pytest.param(dlib_engine, marks=needs_dlib, id="dlib"),
    ],
)
def engine(request: pytest.FixtureRequest) -> Engine:
    make: Callable[[], Engine] = request.param
    return make()


@pytest.fixture(scope="module")
def group() -> Image:
    return read_photo(six_faces())


def crops_of(engine: Engine, image: Image) -> list[Image]:
    return [engine.crop(image, face) for face in engine.detect(image)]


def centred(image: Image, face: Face, side_px: int, share: float) -> Image:
    """The picture cut so that the face is in the middle and its longer side fills `share` of it."""
    x1, y1, x2, y2 = face.box
    scale = share * side_px / max(x2 - x1, y2 - y1)
    shift = side_px / 2 - scale * (x1 + x2) / 2, side_px / 2 - scale * (y1 + y2) / 2
    moved = cv2.warpAffine(image, np.array([[scale, 0, shift[0]], [0, scale, shift[1]]]), (side_px, side_px))
    return np.asarray(moved, np.uint8)


def test_six_faces_are_found_best_first(engine: Engine, group: Image) -> None:
    """t1.jpg has six faces: boxes inside the frame, scores falling, each with five points in or near its box."""
    faces = engine.detect(group)
    assert len(faces) == 6
    assert [face.det_score for face in faces] == sorted((face.det_score for face in faces), reverse=True)
    for face in faces:
        x1, y1, x2, y2 = face.box
        assert 0 <= x1 < x2 <= 1280
        assert 0 <= y1 < y2 <= 886
        assert 60 < face.width < 160
        assert 0.5 <= face.det_score <= 1
        assert face.points.shape == (5, 2)
        assert face.points.dtype == np.float32
        assert abs(face.points[:, 0].mean() - (x1 + x2) / 2) < face.width / 2


def test_pictures_without_faces_give_none(engine: Engine) -> None:
    """A cup of coffee, a blank frame, and frames too small or too thin for any face."""
    assert engine.detect(read_photo(no_faces())) == []
    for height, width in ((480, 640), (16, 16), (1, 5000), (5000, 1)):
        assert engine.detect(np.zeros((height, width, 3), np.uint8)) == []


def test_crops_and_embeddings_have_the_promised_form(engine: Engine, group: Image) -> None:
    """Crops are square, BGR, uint8; embeddings float32 of unit norm, `dim` wide; no crops give no rows."""
    crops = crops_of(engine, group)
    side = crops[0].shape[0]
    assert {(crop.shape, str(crop.dtype)) for crop in crops} == {((side, side, 3), "uint8")}
    embeddings = engine.embed(crops)
    assert embeddings.shape == (6, engine.dim)
    assert embeddings.dtype == np.float32
    assert np.allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-6)
    assert engine.embed([]).shape == (0, engine.dim)


def test_a_batch_gives_what_single_crops_give(engine: Engine, group: Image) -> None:
    """An embedding does not depend on what else is in the batch, nor on how many there are."""
    crops = crops_of(engine, group)
    together = engine.embed(crops * 6)[:6]
    alone = np.concatenate([engine.embed([crop]) for crop in crops])
    assert np.abs(together - alone).max() < 1e-4


def test_strangers_are_apart_and_mirrored_faces_close(engine: Engine, group: Image) -> None:
    """With the engine's own threshold: none of the six is another, and each is their own mirror image."""
    crops = crops_of(engine, group)
    embeddings = engine.embed(crops)
    mirrored = engine.embed([np.ascontiguousarray(crop[:, ::-1]) for crop in crops])
    cosines = embeddings @ embeddings.T
    assert cosines[~np.eye(6, dtype=bool)].max() < engine.threshold
    assert (embeddings * mirrored).sum(axis=1).min() > engine.threshold


def face_analysis() -> Any:
    from insightface.app import FaceAnalysis

    options = {"providers": ["CPUExecutionProvider"], "static_shape_sessions": False}
    analysis = FaceAnalysis(str(SMALL_PACK), allowed_modules=["detection", "recognition"], **options)
    analysis.prepare(0, det_size=(640, 640))
    return analysis


@needs_data
def test_insightface_embeddings_are_those_of_face_analysis(group: Image) -> None:
    """Alignment, colours and normalisation are insightface's own: at the same points, the same embeddings."""
    expected = face_analysis().get(group)
    engine = small_pack_engine()
    crops = [engine.crop(group, Face(tuple(face.bbox), face.kps, float(face.det_score))) for face in expected]
    cosines = (engine.embed(crops) * np.array([face.normed_embedding for face in expected])).sum(axis=1)
    assert cosines.min() > 0.9999  # a pixel here and there is rounded the other way


@needs_data
@pytest.mark.parametrize("shape", [(886, 1280), (360, 640), (1080, 1080), (1280, 1100)])
def test_faces_are_those_of_face_analysis(group: Image, shape: tuple[int, int]) -> None:
    """The input is cut to the frame and not padded to a square: the same faces, to a pixel, and the same scores."""
    picture = np.asarray(cv2.resize(group, shape[::-1]), np.uint8)
    expected, found = face_analysis().get(picture), small_pack_engine().detect(picture)
    assert len(found) >= len(expected) >= 5
    for face in expected:
        same = min(found, key=lambda one: abs(one.box[0] - face.bbox[0]) + abs(one.box[1] - face.bbox[1]))
        assert np.abs(np.subtract(same.box, np.maximum(face.bbox, 0))).max() < 0.02 * max(shape)
        assert np.abs(same.points - face.kps).max() < 0.004 * max(shape)
        assert abs(same.det_score - face.det_score) < 0.05


@needs_data
def test_smaller_input_where_small_faces_are_not_asked_for(group: Image) -> None:
    """A camera that judges faces from 80 pixels up is searched at a fifth of the scale, and its large faces are found."""
    shapes = []

    class Recorded:
        def __init__(self, session: Any) -> None:
            self._session = session
            self.get_inputs, self.get_outputs = session.get_inputs, session.get_outputs

        def run(self, names: Any, feed: dict[str, Any]) -> Any:
            shapes.append(next(iter(feed.values())).shape)
            return self._session.run(names, feed)

    engine = ArcFaceEngine(SMALL_PACK, det_size=640, threads=1, least_face_px=80)
    engine.detector._session = Recorded(engine.detector._session)
    assert len(engine.detect(group)) == 6
    assert shapes[0] == (1, 3, 192, 256)


@needs_dlib
def test_dlib_embeddings_are_those_of_dlib() -> None:
    """Colours and alignment are dlib's own: on its RGB picture, with its own crop, the descriptor is the same."""
    import dlib

    landmarks, recognition = (str(path) for path in recognizer_dlib.weight_files())
    rgb = dlib.load_rgb_image(str(astronaut()))
    engine = dlib_engine()
    image = read_photo(astronaut())
    (face,) = engine.detect(image)
    shape = dlib.shape_predictor(landmarks)(rgb, dlib.rectangle(*(round(side) for side in face.box)))
    expected = np.array(dlib.face_recognition_model_v1(recognition).compute_face_descriptor(rgb, shape))
    got = engine.embed([engine.crop(image, face)])[0]
    assert float(got @ expected) / float(np.linalg.norm(expected)) > 0.9999


def test_boxes_end_at_the_frame(engine: Engine, group: Image) -> None:
    """A face that the frame cuts off is found, and its box does not reach beyond."""
    left = min(engine.detect(group), key=lambda face: face.box[0])
    edge = round(left.box[0] + 0.15 * left.width)
    cut = np.ascontiguousarray(group[:, edge:])
    boxes = [face.box for face in engine.detect(cut)]
    assert len(boxes) == 6
    assert min(box[0] for box in boxes) == 0


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 1.2])
def test_faces_are_found_from_small_to_filling_the_frame(engine: Engine, share: float) -> None:
    """A portrait cut to the head is as good as one with room around: SCRFD alone loses faces above 0.7 of its input."""
    image = read_photo(astronaut())
    assert len(engine.detect(centred(image, engine.detect(image)[0], 640, share))) == 1


def test_small_faces_of_a_large_frame_are_found(engine: Engine, group: Image) -> None:
    """In 1080p the six faces are found too, though dlib searches the frame scaled down."""
    assert len(engine.detect(np.asarray(cv2.resize(group, (1560, 1080)), np.uint8))) == 6


@needs_data
def test_tight_portraits_are_found() -> None:
    """dlib's examples are cut to the head, 150 pixels wide; every one of the 55 has its face found."""
    engine = small_pack_engine()
    assert [len(engine.detect(read_photo(path))) for path in sorted((FACES / "dlib_johns").glob("*/*.jpg"))] == [1] * 55


def test_fingerprints_are_stable_and_differ(tmp_path: Path) -> None:
    """Equal for equal recognisers, wherever they lie; another with other weights; the detector does not matter."""
    first = ArcFaceEngine(write_pack(tmp_path / "a"), det_size=320, threads=1)
    same = ArcFaceEngine(write_pack(tmp_path / "b"), det_size=640, threads=2)
    other = ArcFaceEngine(write_pack(tmp_path / "c", seed=1), det_size=320, threads=1)
    assert len(first.fingerprint) == 64
    assert first.fingerprint == same.fingerprint != other.fingerprint
    assert (first.name, first.model, first.dim, first.threshold, first.margin) == ("insightface", "a", DIM, 0.45, 0.05)


def test_fingerprint_is_made_of_file_and_preprocessing() -> None:
    """Every part counts, the order of the keys does not."""
    one = fingerprint("ab", {"mean": 127.5, "std": 127.5})
    assert one == fingerprint("ab", {"std": 127.5, "mean": 127.5})
    assert (
        len({one, fingerprint("cd", {"mean": 127.5, "std": 127.5}), fingerprint("ab", {"mean": 0.0, "std": 127.5})})
        == 3
    )


def test_buffalo_l_has_the_law_that_meets_its_published_point(tmp_path: Path) -> None:
    """A share of one in a million reaches .408, as in insightface's table; the shape is the small pack's. Other packs have the small pack's
    law, which promises less."""
    pack = write_pack(tmp_path / "renamed")
    (pack / "rec_tiny.onnx").rename(pack / "w600k_r50.onnx")
    law = ArcFaceEngine(pack, det_size=320, threads=1).law
    assert law.score(1e-6) == pytest.approx(0.408, abs=1e-12)
    assert law.share(0.408) == pytest.approx(1e-6)
    for share in (0.5, 0.01, 2e-4, 1e-5):
        assert law.score(share) / 0.408 == pytest.approx(LAW.score(share) / LAW.score(1e-6))
    assert ArcFaceEngine(write_pack(tmp_path / "other"), det_size=320, threads=1).law is LAW
    assert LAW.score(1e-6) == pytest.approx(0.516)
    assert law.share(0.3) < LAW.share(0.3)


@pytest.mark.parametrize("batch", [1, 4])
def test_fixed_batch_dimension_is_respected(tmp_path: Path, batch: int) -> None:
    """A recogniser whose graph takes exactly 1 or 4 crops gives the same embeddings as one that takes any number."""
    free = write_pack(tmp_path / "free")
    fixed = write_pack(tmp_path / "fixed")
    recogniser(fixed / "rec_tiny.onnx", batch=batch)
    crops = list(np.random.default_rng(1).integers(0, 255, (6, 112, 112, 3), dtype=np.uint8))
    expected, got = (ArcFaceEngine(pack, det_size=320, threads=1).embed(crops) for pack in (free, fixed))
    assert np.allclose(expected, got, atol=1e-6)


def test_on_an_accelerator_a_session_always_gets_the_same_number_of_crops(tmp_path: Path) -> None:
    """A new number would cost a new plan. Runs are filled up, and the answers are those of the processor. Warming up runs every session."""
    model = read_pack(write_pack(tmp_path / "pack")).recognition
    shapes: list[list[int]] = []

    class Recorded:
        def __init__(self) -> None:
            self._session = open_session(model.path, threads=1)
            self.get_inputs, self.get_outputs = self._session.get_inputs, self._session.get_outputs
            self.get_providers = self._session.get_providers
            self._shapes: list[int] = []
            shapes.append(self._shapes)

        def run(self, names: Any, feed: dict[str, Any]) -> Any:
            self._shapes.append(next(iter(feed.values())).shape[0])
            return self._session.run(names, feed)

    recogniser, plain = Recogniser(model, "cuda", Recorded), Recogniser(model, "cpu", Recorded)
    recogniser.warm_up()
    assert [set(numbers) for numbers in shapes[:4]] == [{1}, {4}, {16}, {32}]
    crops = list(np.random.default_rng(1).integers(0, 255, (71, 112, 112, 3), dtype=np.uint8))
    for count in (1, 2, 4, 5, 17, 32, 33, 71):
        assert np.allclose(recogniser.run(crops[:count]), plain.run(crops[:count]), atol=1e-5)
        assert recogniser.run(crops[:count]).shape == (count, recogniser.dim)
    assert [set(numbers) for numbers in shapes[:4]] == [{1}, {4}, {16}, {32}]
    assert max(shapes[4]) == 2


def test_normalising_recogniser_gets_plain_pixels(tmp_path: Path) -> None:
    """A graph that normalises inside gives what the same graph gives after insightface's normalisation."""
    outside, inside = write_pack(tmp_path / "outside"), write_pack(tmp_path / "inside")
    recogniser(inside / "rec_tiny.onnx", normalises=True)
    crops = list(np.random.default_rng(1).integers(0, 255, (2, 112, 112, 3), dtype=np.uint8))
    expected, got = (ArcFaceEngine(pack, det_size=320, threads=1).embed(crops) for pack in (outside, inside))
    assert np.allclose(expected, got, atol=1e-4)


@pytest.mark.parametrize("weight", [0.0, float("nan")])
def test_a_vector_that_is_no_embedding_is_refused(tmp_path: Path, weight: float) -> None:
    """Zero and NaN never leave the engine as embeddings."""
    pack = write_pack(tmp_path / "broken")
    recogniser(pack / "rec_tiny.onnx", weight=weight)
    engine = ArcFaceEngine(pack, det_size=320, threads=1)
    with pytest.raises(RefusedError, match="no usable embedding for 1 of 1"):
        engine.embed([np.full((112, 112, 3), 200, np.uint8)])


def test_damage_that_only_onnxruntime_sees_is_a_configuration_error(tmp_path: Path) -> None:
    """A graph that reads well but can't be run names its file."""
    import onnx

    pack = write_pack(tmp_path / "broken")
    model = onnx.load(str(pack / "rec_tiny.onnx"))
    model.graph.node[0].op_type = "NoSuchOperator"
    onnx.save(model, str(pack / "rec_tiny.onnx"))
    with pytest.raises(ConfigurationError, match=r"rec_tiny\.onnx: is damaged.*NoSuchOperator"):
        ArcFaceEngine(pack, det_size=320, threads=1)


@needs_dlib
def test_dlib_that_is_not_installed_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the wheel, or without the weights, the error says what to install."""
    with monkeypatch.context() as without_wheel:
        without_wheel.setitem(sys.modules, "dlib", None)
        with pytest.raises(ConfigurationError, match=r"pip install -c constraints\.txt '\.\[embedded\]'"):
            DlibEngine(det_size=640)
    monkeypatch.setattr(recognizer_dlib, "WEIGHTS_PACKAGE", "no_such_package_of_weights")
    with pytest.raises(
        ConfigurationError, match=r"no_such_package_of_weights.*pip install -c constraints\.txt '\.\[embedded\]'"
    ):
        DlibEngine(det_size=640)


@needs_dlib
@pytest.mark.parametrize("changed", [recognizer_dlib.LANDMARKS_FILE, recognizer_dlib.RECOGNITION_FILE])
def test_other_weights_than_those_published_are_refused(tmp_path: Path, changed: str) -> None:
    """A weight file of the right name with one other byte: a configuration error with both sums, before it is used."""
    weights = tmp_path / recognizer_dlib.WEIGHTS_PACKAGE / "models"
    weights.mkdir(parents=True)
    (weights.parent / "__init__.py").touch()
    for file in recognizer_dlib.weight_files():
        data = bytearray(file.read_bytes())
        data[-1] ^= file.name == changed
        (weights / file.name).write_bytes(data)
    code = "from workers.recognizer_dlib import DlibEngine; DlibEngine(det_size=640)"
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"{changed}: the dlib engine's weights are not the published ones; got SHA-256" in done.stderr


@needs_dlib
def test_only_two_weight_files_are_opened(tmp_path: Path) -> None:
    """Of the package's files the engine opens the two that are free for any use: never the 68 points."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    code = f"""
from workers.recognizer_dlib import DlibEngine
from shared.photos.reading import read_photo
engine = DlibEngine(det_size=640)
image = read_photo({str(astronaut())!r})
engine.embed([engine.crop(image, face) for face in engine.detect(image)])
"""
    trace = tmp_path / "trace.txt"
    words = ["strace", "-f", "-qq", "-o", str(trace), "-e", "trace=open,openat", sys.executable, "-c", code]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    opened = {
        Path(name).name for name in re.findall(r'"([^"]*\.dat)"', trace.read_text(encoding="utf-8", errors="replace"))
    }
    assert opened == {recognizer_dlib.LANDMARKS_FILE, recognizer_dlib.RECOGNITION_FILE}


@needs_dlib
def test_open_engine_follows_the_settings(tmp_path: Path) -> None:
    """`engine` and `model` choose; a missing pack is the one error that says what to put where."""
    chosen = parse_settings({"recognition": {"engine": "dlib"}}, tmp_path / "site.toml", {})
    assert open_engine(chosen.engine_choice, det_size=640, threads=1).name == "dlib"
    missing = parse_settings({"recognition": {"model": "antelopev2"}}, tmp_path / "site.toml", {})
    with pytest.raises(ConfigurationError, match="'antelopev2' is not installed"):
        open_engine(missing.engine_choice, det_size=640, threads=1)


def loaded_modules(code: str) -> set[str]:
    """Top-level modules that a fresh process has loaded after `code`, which must print nothing on stderr."""
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", f"{code}\nimport sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.stderr == ""
    return {module.split(".")[0] for module in done.stdout.split()}


def test_choosing_between_engines_loads_none() -> None:
    """`import workers.recognition.engine` is cheap: the supervisor does it too."""
    heavy = {"insightface", "onnxruntime", "onnx", "dlib", "face_recognition_models", "cv2", "skimage", "scipy"}
    assert not loaded_modules("import workers.recognition.engine") & heavy


@needs_dlib
def test_dlib_engine_loads_no_other_and_not_the_weights_package() -> None:
    """The embedded default runs without onnxruntime, and never imports the package that needs pkg_resources."""
    code = "from workers.recognizer_dlib import DlibEngine; DlibEngine(det_size=640)"
    loaded = loaded_modules(code)
    assert "dlib" in loaded
    assert not loaded & {"insightface", "onnxruntime", "face_recognition_models", "pkg_resources"}


@needs_data
def test_insightface_engine_prints_nothing() -> None:
    """Loading, detecting and aligning leave no warning on stderr, and load nothing a camera has no use for."""
    code = (
        "from workers.recognizer_arcface import ArcFaceEngine\n"
        "from shared.photos.reading import read_photo\n"
        "from pathlib import Path\n"
        f"engine = ArcFaceEngine(Path({str(SMALL_PACK)!r}), det_size=640, threads=1)\n"
        f"image = read_photo({str(astronaut())!r})\n"
        "engine.crop(image, engine.detect(image)[0])"
    )
    loaded = loaded_modules(code)
    assert "onnxruntime" in loaded
    assert not loaded & {"insightface", "skimage", "scipy", "requests"}


@needs_data
@pytest.mark.skipif(
    importlib.util.find_spec("onnxruntime_ep_openvino") is None, reason="onnxruntime-ep-openvino is not installed"
)
def test_openvino_as_a_plug_in_gives_the_same_embeddings() -> None:
    """It is found beside onnxruntime, "auto" takes it, and it computes with all digits."""
    image = cv2.imread(str(astronaut()))
    assert image is not None
    local = ArcFaceEngine(SMALL_PACK, det_size=640, threads=1, device="cpu")
    (face,) = local.detect(np.asarray(image, np.uint8))
    crop = local.crop(np.asarray(image, np.uint8), face)
    for device in ("openvino", "auto"):
        plugged = ArcFaceEngine(SMALL_PACK, det_size=640, threads=1, device=device)
        assert plugged.device == "openvino"
        (found,) = plugged.detect(np.asarray(image, np.uint8))
        assert np.allclose(found.box, face.box, atol=0.1)
        assert float(plugged.embed([crop])[0] @ local.embed([crop])[0]) > 0.99999
