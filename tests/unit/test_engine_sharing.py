"""When one process runs the models for all cameras."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from shared.settings.camera_task import CameraTask
from shared.settings.engine_choice import unfit_for_dlib
from shared.settings.engine_sharing import shares_engine, task_of, uses_accelerator
from shared.settings.file import load_settings
from shared.settings.schema import Settings


def _settings(folder: Path, text: str = "", sizes: dict[str, int] | None = None) -> Settings:
    """Settings with a pack of files of these sizes, MB; they hold nothing."""
    pack = folder / "data" / "models" / "pack"
    pack.mkdir(parents=True)
    for name, size_mb in (sizes or {}).items():
        with (pack / name).open("wb") as file:
            file.truncate(size_mb << 20)
    (folder / "site.toml").write_text(f'[recognition]\nmodel = "pack"\n{text}\n')
    return load_settings(folder / "site.toml")


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ({"det_10g.onnx": 17, "w600k_r50.onnx": 174}, True),
        ({"det_500m.onnx": 3, "w600k_mbf.onnx": 14}, False),
        ({"det_500m.onnx": 3, "w600k_mbf.onnx": 14, "1k3d68.onnx": 144}, False),
        ({}, False),
    ],
    ids=["buffalo_l", "buffalo_s", "buffalo_s, copied by hand", "not installed"],
)
def test_auto_goes_by_the_models_size_on_the_processor(
    tmp_path: Path, sizes: dict[str, int], *, expected: bool
) -> None:
    """A large recogniser is in memory once; files that are never loaded do not count."""
    assert shares_engine(_settings(tmp_path, 'device = "cpu"', sizes)) is expected


@pytest.mark.parametrize(("enabled", "expected"), [(7, False), (8, True)])
def test_auto_shares_among_many_cameras(tmp_path: Path, enabled: int, *, expected: bool) -> None:
    """Also a small model. Cameras that are switched off do not count. Each camera is told what was decided, since it knows only itself."""
    cameras = [f'[cameras.c{number}]\nsource = "rtsp://c{number}.example/"' for number in range(enabled)]
    off = '[cameras.off]\nsource = "rtsp://off.example/"\nenabled = false'
    settings = _settings(tmp_path, "\n".join(['device = "cpu"', *cameras, off]), {"w600k_mbf.onnx": 14})
    assert shares_engine(settings) is expected
    told = CameraTask.from_json(json.loads(json.dumps(task_of(settings, "c1").to_json())))
    assert told == task_of(settings, "c1")
    assert told.engine.shared_engine is expected


@pytest.mark.parametrize("device", ["cuda", "openvino", "coreml"])
def test_auto_shares_an_accelerator(tmp_path: Path, device: str) -> None:
    assert shares_engine(_settings(tmp_path, f'device = "{device}"'))


@pytest.mark.parametrize("chosen", [True, False])
def test_what_is_set_is_done(tmp_path: Path, *, chosen: bool) -> None:
    settings = _settings(tmp_path, f"shared_engine = {str(chosen).lower()}", {"w600k_r50.onnx": 174})
    assert shares_engine(settings) is chosen


def test_an_accelerator_is_seen_by_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With device = "auto" nothing is imported: a wheel for CUDA has a file of its name."""
    (tmp_path / "onnxruntime" / "capi").mkdir(parents=True)
    (tmp_path / "onnxruntime" / "__init__.py").write_text("raise ImportError")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    assert not uses_accelerator("auto")
    (tmp_path / "onnxruntime" / "capi" / "libonnxruntime_providers_cuda.so").touch()
    assert uses_accelerator("auto")
    assert not uses_accelerator("cpu")


@pytest.mark.parametrize("text", ['device = "cuda"', "shared_engine = true"])
def test_dlib_says_what_it_can_not_do(tmp_path: Path, text: str) -> None:
    """It runs in each camera, on the processor: what asks for more is a fault, with the key's name."""
    chosen = _settings(tmp_path, text).recognition.model_copy(update={"engine": "dlib", "model": None})
    fault = unfit_for_dlib(chosen)
    assert fault is not None
    assert text.partition(" ")[0] in fault.where
    (tmp_path / "site.toml").write_text(f'[recognition]\nengine = "dlib"\n{text}\n')
    with pytest.raises(Exception, match="the dlib engine runs in each camera"):
        load_settings(tmp_path / "site.toml")


def test_dlib_is_never_shared(tmp_path: Path) -> None:
    settings = _settings(tmp_path, "", {"w600k_r50.onnx": 174})
    dlib = settings.recognition.model_copy(update={"engine": "dlib", "model": None})
    assert not shares_engine(replace(settings, recognition=dlib))
    assert unfit_for_dlib(dlib) is None
