"""`models compare` on the command line: real photos, real models."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.paths import FACES, SMALL_PACK, YUNET, needs_data, needs_dlib
from tests.support.site_process import command, command_json
from tests.support.stores import DLIB
from tests.support.tiny_pack import PACK_DOCUMENT, write_pack_file
from workers.recognition.fingerprint import file_sha256

_PEOPLE, _PHOTOS = 6, 3


@needs_data
@needs_dlib
def test_models_are_compared_on_the_site_s_own_photos(tmp_path: Path) -> None:
    """InsightFace's small pack, the same recogniser behind YuNet, and dlib: people are named right, the gallery stays as it is."""
    (tmp_path / "site.toml").write_text(DLIB, encoding="utf-8")
    people = [folder for folder in sorted((FACES / "lfw_mini").iterdir()) if len(list(folder.iterdir())) >= _PHOTOS]
    for folder in people[:_PEOPLE]:
        for photo in sorted(folder.iterdir())[:_PHOTOS]:
            target = tmp_path / "photos" / folder.name / photo.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(photo, target)
    command_json(tmp_path, "enrol", str(tmp_path / "photos"))
    before = command_json(tmp_path, "people")
    models = tmp_path / "data" / "models"
    shutil.copytree(SMALL_PACK, models / "small")
    [recognition] = [path for path in SMALL_PACK.glob("*.onnx") if not path.name.startswith("det")]
    (models / "mixed").mkdir()
    shutil.copyfile(recognition, models / "mixed" / "r.onnx")
    shutil.copyfile(YUNET, models / "mixed" / "d.onnx")
    write_pack_file(
        models / "mixed",
        {
            **PACK_DOCUMENT,
            "detector": {"file": "d.onnx", "sha256": file_sha256(YUNET), "kind": "yunet"},
            "recogniser": {"file": "r.onnx", "sha256": file_sha256(recognition), "side_px": 112, "dim": 512},
        },
    )
    answer = command_json(tmp_path, "models", "compare", "small", "mixed", "dlib")
    small, mixed, dlib = answer["compared"]
    assert [one["model"] for one in answer["compared"]] == ["insightface/small", "insightface/mixed", "dlib/dlib"]
    count = before["people"] and sum(one["references"] for one in before["people"])
    for one in (small, mixed, dlib):
        assert one["of"] == count
        assert one["photos"] >= count - 1
        assert one["named_right"] >= (0.6 if one is dlib else 0.8)
        assert one["ms_a_face"] > 0
    assert (small["commercial_use"], mixed["commercial_use"], dlib["commercial_use"]) == (None, True, True)
    assert command_json(tmp_path, "people") == before
    shown = command(tmp_path, "models", "compare", "small").stdout
    assert "named right" in shown and "commercial use: not known" in shown


@needs_dlib
def test_without_photos_or_without_the_model_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text(DLIB, encoding="utf-8")
    assert "no gallery yet" in command(tmp_path, "models", "compare", "dlib").stderr


@pytest.mark.parametrize("names", [[]])
def test_a_model_has_to_be_named(tmp_path: Path, names: list[str]) -> None:
    (tmp_path / "site.toml").write_text(DLIB, encoding="utf-8")
    assert command(tmp_path, "models", "compare", *names).returncode == 2
