"""The program's folder, which contains supervisor.py, shared and workers."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path

PROGRAM_DIR = Path(__file__).resolve().parents[2]


@cache
def version() -> str:
    """The program's version, from its pyproject.toml; empty if that is missing."""
    try:
        described = tomllib.loads((PROGRAM_DIR / "pyproject.toml").read_text(encoding="utf-8"))
        return str(described["project"]["version"])
    except (OSError, ValueError, KeyError):
        return ""
