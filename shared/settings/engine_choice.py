"""Which model a process runs, and on what: what it needs of the settings to open an engine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from shared.errors import ConfigurationError

if TYPE_CHECKING:
    from shared.settings.schema import RecognitionSettings

DLIB = "dlib"


@dataclass(frozen=True)
class EngineChoice:
    """`engine`: insightface or dlib. `model`: the name of the pack, a folder in `models_dir`. `device`, `shared_engine`: as in [recognition]."""

    engine: str
    model: str
    models_dir: Path
    device: str
    shared_engine: bool | Literal["auto"]

    @property
    def label(self) -> str:
        """The name of the model in the store and the block: "engine/pack"."""
        return f"{self.engine}/{self.model}"


def unfit_for_dlib(chosen: EngineChoice | RecognitionSettings) -> ConfigurationError | None:
    """The error for settings that the dlib engine can't follow: it runs in each camera, on the processor. None: there is no such fault."""
    for key, value, expected in (
        ("device", chosen.device not in ("auto", "cpu"), '"auto" or "cpu"'),
        ("shared_engine", chosen.shared_engine is True, '"auto" or false'),
    ):
        if chosen.engine == DLIB and value:
            return ConfigurationError(
                "the dlib engine runs in each camera, on the processor",
                where=f"[recognition] {key}",
                got=str(getattr(chosen, key)).lower(),
                expected=expected,
                remedy='remove the key, or set engine = "insightface"',
            )
    return None
