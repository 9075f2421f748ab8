"""Folders that others change while a test looks at them."""

import os
from pathlib import Path


def files_under(folder: Path) -> list[Path]:
    """Every file below the folder. `os.walk` passes over a folder that goes away meanwhile, where `Path.rglob` raises."""
    return [Path(inner) / name for inner, _, names in os.walk(folder) for name in names]
