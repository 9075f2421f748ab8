"""The versions of everything that runs here: the program, Python, the system, the libraries."""

from __future__ import annotations

import platform
import sqlite3
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version

from shared.process import program

# What answers differ by: those that compute, that decode, that serve. A library that is not installed is left out.
_LIBRARIES = (
    "numpy",
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-openvino",
    "insightface",
    "opencv-python",
    "dlib-bin",
    "av",
    "pillow",
    "pydantic",
    "fastapi",
    "starlette",
    "uvicorn",
    "prometheus-client",
    "pymongo",
)


@dataclass(frozen=True)
class Versions:
    """`schema`: of the database. `libraries`: those that are installed, by name."""

    program: str
    python: str
    system: str
    sqlite: str
    schema: int
    libraries: dict[str, str] = field(default_factory=dict)


def versions_here(schema: int) -> Versions:
    """The versions of this machine. `schema`: that of the database which this program writes."""
    found = {name: number for name in _LIBRARIES if (number := _version(name)) is not None}
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    return Versions(program.version(), platform.python_version(), system, sqlite3.sqlite_version, schema, found)


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None
