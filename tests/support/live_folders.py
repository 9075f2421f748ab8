"""Folders that others change while a test looks at them. `os.walk` passes over what goes away meanwhile, where `Path.rglob` raises."""

import os
from pathlib import Path


def folders_under(folder: Path) -> list[Path]:
    """The folder and every folder below it, the inner ones last."""
    return [Path(inner) for inner, _, _ in os.walk(folder)]


def files_under(folder: Path) -> list[Path]:
    """Every file below the folder."""
    return [Path(inner) / name for inner, _, names in os.walk(folder) for name in names]
