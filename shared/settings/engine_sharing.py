"""Whether one process runs the models for all cameras, or each camera its own. The supervisor decides it and tells the cameras.

No library is imported for it: the supervisor loads no engine, and a camera without one is small.
"""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

from shared.errors import ConfigurationError
from shared.settings.camera_task import CameraTask
from shared.settings.engine_choice import DLIB
from shared.settings.schema import Settings

# On a processor a shared engine saves memory: a camera more costs no weights. With a model of this size that is more than all else that a
# camera needs; w600k_r50 of buffalo_l has 174 MB, w600k_mbf of buffalo_s 14.
_LARGE_BYTES = 60 << 20
# With so many cameras even a small model pays: sixteen on two processors searched as often as with an engine each, their newest frames waited
# 203 ms instead of 868 (p95), and the site took 1,293 MB instead of 2,120. With four it took 8 % more of a core and 15 % less memory.
_MANY_CAMERAS = 8
# Files of published packs that are never loaded. `models install` does not copy them.
_NOT_LOADED = ("1k3d68", "2d106det", "genderage")
# The files by which a wheel of onnxruntime shows what it can use, see workers/recognition/devices.py.
_OF_ACCELERATORS = ("libonnxruntime_providers_cuda.so", "libonnxruntime_providers_openvino.so")
_OPENVINO_PLUGIN = "onnxruntime_ep_openvino"


def shares_engine(settings: Settings) -> bool:
    """Whether cameras use the models of the inference process."""
    chosen = settings.recognition
    if chosen.engine == DLIB:
        return False
    if chosen.shared_engine != "auto":
        return chosen.shared_engine
    many = len(settings.enabled_cameras()) >= _MANY_CAMERAS
    return many or uses_accelerator(chosen.device) or _is_large(settings.models_dir / settings.model)


def with_sharing_decided(settings: Settings) -> Settings:
    """The same settings with true or false in place of "auto", for a process that does not know all cameras."""
    if settings.recognition.shared_engine != "auto":
        return settings
    decided = settings.recognition.model_copy(update={"shared_engine": shares_engine(settings)})
    return replace(settings, recognition=decided)


def task_of(settings: Settings, name: str) -> CameraTask:
    """What the process of camera `name` is told. Raises ConfigurationError if there is no such camera."""
    if name not in settings.cameras:
        raise ConfigurationError(
            "no such camera",
            where=str(settings.path or "settings"),
            got=name,
            expected="one of " + (", ".join(settings.cameras) or "none"),
            remedy=f"add [cameras.{name}], or correct the name",
        )
    return CameraTask(
        settings.camera(name),
        with_sharing_decided(settings).engine_choice,
        settings.run_dir,
        settings.path,
        settings.base,
        keep_unknowns=settings.site.keep_unknowns_days > 0,
        keep_probes=settings.site.keep_crops_days > 0,
    )


def uses_accelerator(device: str) -> bool:
    """Whether the models are meant to run on an accelerator. `device`: of the settings."""
    if device != "auto":
        return device != "cpu"
    found = importlib.util.find_spec("onnxruntime")
    folders = [Path(folder) / "capi" for folder in (found.submodule_search_locations or [])] if found else []
    if importlib.util.find_spec(_OPENVINO_PLUGIN) is not None:
        return True
    return any((folder / name).exists() for folder in folders for name in _OF_ACCELERATORS)


def _is_large(pack: Path) -> bool:
    """Whether the pack's recogniser is large. It is the largest of the files that are loaded."""
    try:
        sizes = [file.stat().st_size for file in pack.glob("*.onnx") if file.stem not in _NOT_LOADED]
    except OSError:
        return False
    return max(sizes, default=0) > _LARGE_BYTES
