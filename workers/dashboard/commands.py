"""Runs a command of supervisor.py in a process of its own: work for which this process has neither the memory nor the time.

The command gets no secret of this process, and dies with it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from shared.errors import RefusedError, TemporaryError
from shared.process.program import PROGRAM_DIR
from shared.settings.schema import Settings
from workers.dashboard.side_process import rest_of, side_process

_MAX_ANSWER_BYTES = 8 << 20


@asynccontextmanager
async def running(
    settings: Settings, *words: str, errors: int = asyncio.subprocess.DEVNULL
) -> AsyncIterator[asyncio.subprocess.Process]:
    """The command with `--json`, as a process whose output is read. It is killed if it still runs at the end. `errors`: what becomes of its
    warnings, which are for a person at a terminal."""
    config = ["--config", str(settings.path)] if settings.path else []
    program = str(PROGRAM_DIR / "supervisor.py")
    async with side_process(program, *words, "--json", *config, stderr=errors, folder=settings.base) as process:
        yield process


async def printed_by(process: asyncio.subprocess.Process) -> bytes:
    """All that the process prints, to its end. Raises TemporaryError if that is too much."""
    assert process.stdout is not None  # a pipe, as asked for
    try:
        return await rest_of(process.stdout, _MAX_ANSWER_BYTES)
    except ValueError:
        raise TemporaryError("the command prints too much", expected=f"at most {_MAX_ANSWER_BYTES} bytes") from None


async def answer_of(settings: Settings, *words: str, timeout_s: float) -> Any:
    """The JSON document that the command prints. Raises RefusedError with the command's own words if it fails, TemporaryError if it takes
    too long."""
    try:
        async with asyncio.timeout(timeout_s), running(settings, *words) as process:
            printed = await printed_by(process)
            code = await process.wait()
    except TimeoutError:
        raise TemporaryError("the site is too busy for this", where=words[0], remedy="try again") from None
    return document_of(printed, code, words[0])


def document_of(printed: bytes, code: int, command: str) -> Any:
    """The document that a command printed. Raises RefusedError if it failed."""
    try:
        document = json.loads(printed)
    except ValueError:
        raise TemporaryError("the command ended without an answer", where=command, got=f"exit code {code}") from None
    if code and isinstance(document, dict) and "error" in document:
        raise RefusedError("; ".join(map(str, document["error"])))
    return document
