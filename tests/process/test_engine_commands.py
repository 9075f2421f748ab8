"""What the commands say of the device and of the shared engine, and what they refuse."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.clips import write_clip
from tests.support.site_process import SiteProcess, command, command_json
from tests.support.tiny_pack import write_pack


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site with a pack of a few kilobytes and one camera that plays a clip over and over."""
    write_pack(tmp_path / "data" / "models" / "tiny")
    write_clip(tmp_path / "clip.avi", 50)
    return _with(tmp_path, "")


def _with(folder: Path, recognition: str) -> Path:
    camera = '[cameras.door]\nsource = "clip.avi"\nloop = true\n'
    text = f'[recognition]\nmodel = "tiny"\ndet_size = 128\n{recognition}\n{camera}'
    (folder / "site.toml").write_text(text)
    return folder


def test_models_says_what_runs_where(site: Path) -> None:
    """Each camera by itself, or one process for all; or why nothing can."""
    assert command_json(site, "models")["runs_on"] == "cpu, in each camera"
    assert "models run on cpu, in each camera" in command(site, "models").stdout
    assert (
        command_json(_with(site, "shared_engine = true"), "models")["runs_on"] == "cpu, in one process for all cameras"
    )
    assert "can't use cuda" in command_json(_with(site, 'device = "cuda"'), "models")["runs_on"]


@pytest.mark.parametrize("words", [("run",), ("identify", "clip.avi")])
def test_a_device_that_is_not_there_is_one_clear_error(site: Path, words: tuple[str, ...]) -> None:
    """Exit code 78 and a line with its remedy; nothing goes on with the processor instead."""
    done = command(_with(site, 'device = "cuda"'), *words)
    assert done.returncode == 78
    lines = [line for line in done.stderr.splitlines() if "can't use cuda" in line]
    assert len(lines) == 1
    assert "onnxruntime-gpu" in lines[0]
    assert "docs/operating.md#an-accelerator" in lines[0]
    assert "runs on cpu" not in done.stderr


def test_check_names_the_device_that_is_not_there(site: Path) -> None:
    faults = command_json(_with(site, 'device = "openvino"'), "check", expect=1)["faults"]
    assert len([fault for fault in faults if "can't use openvino" in fault]) == 1


def test_check_names_two_runtimes(site: Path) -> None:
    """onnxruntime-gpu was installed beside onnxruntime, as an upgrade does it."""
    for name in ("onnxruntime", "onnxruntime-gpu", "onnxruntime-extensions"):
        folder = site / "packages" / f"{name.replace('-', '_')}-1.30.0.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.30.0\n")
    (fault,) = command_json(site, "check", expect=1, PYTHONPATH=str(site / "packages"))["faults"]
    assert "onnxruntime, onnxruntime-gpu" in fault
    assert "extensions" not in fault
    assert command_json(site, "check")["faults"] == []


def test_status_shows_the_inference_process_and_the_stages(site: Path) -> None:
    """A line of its own for it; what runs the models, and what each stage costs, for each camera."""
    with SiteProcess(_with(site, "shared_engine = true")) as running:
        running.wait_until_ready()
        running.wait_for(lambda: (running.status()["cameras"]["door"]["detect_ms"] or 0) > 0, "searched frames")
        running.wait_for(lambda: running.status()["processes"]["inference"]["searches"], "served searches")
        text = command(site, "status").stdout
        (line,) = [line for line in text.splitlines() if line.startswith("  inference: ")]
        assert "running: insightface/tiny, on cpu, cameras 1" in line
        (camera,) = [line for line in text.splitlines() if line.startswith("door")]
        assert "models on shared: cpu" in camera
        assert " core" in camera.partition("detect ")[2]
        camera_status = running.status()["cameras"]["door"]
        assert camera_status["detect_cores"] > 0
        assert camera_status["decode_ms"] > 0
