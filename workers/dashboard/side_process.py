"""A process of its own for work that the web process should not do: it gets no secret, and is gone when the work is over or given up."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from shared.supervision.child_process import bare_environment

_PIECE_BYTES = 1 << 16


@asynccontextmanager
async def side_process(
    *arguments: str,
    stdin: int = asyncio.subprocess.DEVNULL,
    stderr: int = asyncio.subprocess.DEVNULL,
    folder: Path | None = None,
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Python with these arguments, in `folder`. Its output is read; it is killed if it still runs at the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        stdin=stdin,
        stdout=asyncio.subprocess.PIPE,
        stderr=stderr,
        cwd=folder,
        env=bare_environment(),
        process_group=0,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def rest_of(stream: asyncio.StreamReader, most_bytes: int) -> bytes:
    """All that is still to come from a stream. Raises ValueError if that is more than `most_bytes`."""
    found = bytearray()
    while piece := await stream.read(_PIECE_BYTES):
        found += piece
        if len(found) > most_bytes:
            raise ValueError(f"more than {most_bytes} bytes")
    return bytes(found)
