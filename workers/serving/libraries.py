"""The libraries of processes that answer HTTP, which are extras: whether they are installed, and what to type if not."""

from __future__ import annotations

import importlib.util
import sys

from shared.errors import ConfigurationError
from shared.process.program import PROGRAM_DIR

# By extra: what of it is imported.
_NEEDED = {
    "web": ("fastapi", "uvicorn", "prometheus_client", "segno", "python_multipart"),
    "backend": ("fastapi", "uvicorn", "pymongo"),
}


def require_libraries(what: str, extra: str) -> None:
    """Raise ConfigurationError if one of an extra is missing. `what`: what needs it."""
    for name in _NEEDED[extra]:
        if importlib.util.find_spec(name) is None:
            raise missing_library(what, name, extra)


def missing_library(what: str, name: str | None, extra: str) -> ConfigurationError:
    """The error for a library that is not there. `what`: what needs it. `extra`: has it."""
    return ConfigurationError(
        f"{what}, and its libraries are not installed",
        where=sys.executable,
        got=f"no module {name}",
        remedy=f"{sys.executable} -m pip install -c {PROGRAM_DIR / 'constraints.txt'} '{PROGRAM_DIR}[{extra}]'",
    )
