"""The program's folder, which contains supervisor.py, shared and workers."""

from __future__ import annotations

from pathlib import Path

PROGRAM_DIR = Path(__file__).resolve().parents[2]
