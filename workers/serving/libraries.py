"""The libraries of the web part, which are an extra: whether they are installed, and what to type if not."""

from __future__ import annotations

import importlib.util
import sys

from shared.errors import ConfigurationError
from shared.process.program import PROGRAM_DIR

_NEEDED = ("fastapi", "uvicorn", "prometheus_client", "segno")


def require_libraries() -> None:
    """Raise ConfigurationError if one is missing."""
    for name in _NEEDED:
        if importlib.util.find_spec(name) is None:
            raise missing_library("the web part is asked for", name)


def missing_library(what: str, name: str | None) -> ConfigurationError:
    """The error for a library that is not there. `what`: what needs it."""
    return ConfigurationError(
        f"{what}, and its libraries are not installed",
        where=sys.executable,
        got=f"no module {name}",
        remedy=f"{sys.executable} -m pip install -c {PROGRAM_DIR / 'constraints.txt'} '{PROGRAM_DIR}[web]'",
    )
