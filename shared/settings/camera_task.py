"""What one camera's process is told of the settings: all that it needs, checked and completed, as plain values.

The supervisor has read and checked the file. So that each camera need not load the schema and pydantic, which take 7 MB, this module
imports neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from shared.settings.engine_choice import EngineChoice
from shared.settings.sources import Reached, Source, Tls, Transport, resolve_source

LivenessMode = Literal["off", "observe", "require"]
Decode = Literal["on_demand", "always"]
Flip = Literal["none", "horizontal", "vertical"]
Rotation = Literal[0, 90, 180, 270]


@dataclass(frozen=True, kw_only=True)
class EffectiveCamera:
    """One camera's settings, completed from [recognition]; the schema describes them (CameraSettings). `threshold` is None if it follows from
    `strangers_named`; `margin` is None for the model's default.

    `source` is the text of site.toml. `source_of` gives the source that is opened.
    """

    name: str
    source: str | int = field(repr=False)
    enabled: bool
    loop: bool
    realtime: bool
    tls: Tls
    ca_file: str | None
    transport: Transport
    rotate: Rotation
    flip: Flip
    ignore: list[list[float]]
    decode: Decode
    decode_device: str
    strangers_named: float
    threshold: float | None
    margin: float | None
    min_face_px: int
    det_size: int
    votes: int
    fps: float
    threads: int
    liveness: LivenessMode


@dataclass(frozen=True)
class CameraTask:
    """`engine`: with `shared_engine` decided. `path`: the settings file, for messages; None: the defaults. `base`: the folder that relative
    paths are relative to. `keep_unknowns`, `keep_probes`: whether anything of strangers, and of faces that can be corrected, is kept."""

    camera: EffectiveCamera
    engine: EngineChoice
    run_dir: Path
    path: Path | None
    base: Path
    keep_unknowns: bool
    keep_probes: bool

    def to_json(self) -> dict[str, Any]:
        """Everything from which the camera's process builds the same task. May hold passwords."""
        paths = {"run_dir": str(self.run_dir), "path": str(self.path) if self.path else None, "base": str(self.base)}
        engine = {**asdict(self.engine), "models_dir": str(self.engine.models_dir)}
        return {**vars(self), **paths, "camera": asdict(self.camera), "engine": engine}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> CameraTask:
        """From a document of `to_json`, which is not checked again."""
        engine = EngineChoice(**document["engine"])
        given = {
            "camera": EffectiveCamera(**document["camera"]),
            "engine": replace(engine, models_dir=Path(engine.models_dir)),
            "run_dir": Path(document["run_dir"]),
            "path": Path(document["path"]) if document["path"] else None,
            "base": Path(document["base"]),
        }
        return cls(**{**document, **given})


def source_of(
    camera: EffectiveCamera, path: Path | None, base: Path, environ: Mapping[str, str] | None = None
) -> Source:
    """The source of a camera, with its variables filled in. A relative file is relative to `base`, the folder of the settings file `path`.

    Raises ConfigurationError if a variable is not set, or if the filled-in text is not a source. The error holds no value.
    """
    where = f"{path or 'settings'}: [cameras.{camera.name}] source"
    ca_file = base / Path(camera.ca_file).expanduser() if camera.ca_file else None
    reached = Reached(camera.tls, camera.transport, ca_file)
    return resolve_source(camera.source, where, base=base, environ=environ, reached=reached)
