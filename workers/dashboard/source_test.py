"""Has a process of its own open a camera's source once, within limits of time and size."""

from __future__ import annotations

import asyncio
import json
import struct
from dataclasses import dataclass
from typing import Any

from shared.errors import RefusedError
from workers.dashboard.side_process import rest_of, side_process

_TIME_S = 30.0  # a large model takes seconds to load, and a picture may take ten
_MAX_HEAD_BYTES, _MAX_JPEG_BYTES = 64 << 10, 4 << 20
_HEAD = struct.Struct("<I")


@dataclass(frozen=True)
class Tested:
    """What a source gave: see workers/camera_test/process.py. `jpeg`: its picture."""

    width: int
    height: int
    fps: float | None
    codec: str
    faces: list[list[int]] | None
    faces_fault: str | None
    jpeg: bytes


async def open_source(asked: dict[str, Any]) -> Tested:
    """Test one source. Raises RefusedError with the reason."""
    # Nothing of its standard error is shown: decoders print what streams make them print.
    module = "workers.camera_test.process"
    try:
        async with asyncio.timeout(_TIME_S), side_process("-m", module, stdin=asyncio.subprocess.PIPE) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps(asked).encode() + b"\n")
            process.stdin.close()
            return await _answer(process.stdout)
    except TimeoutError:
        raise RefusedError(
            "the test took too long", expected=f"a picture within {_TIME_S:.0f} s", remedy="check the camera; try again"
        ) from None
    except (asyncio.IncompleteReadError, ConnectionError, ValueError, KeyError) as error:
        raise RefusedError(
            "what the camera sends broke the test",
            got="its process ended",
            remedy="check the camera; this site goes on",
        ) from error


async def _answer(stream: asyncio.StreamReader) -> Tested:
    (size,) = _HEAD.unpack(await stream.readexactly(_HEAD.size))
    if size > _MAX_HEAD_BYTES:
        raise ValueError("an answer over the limits")
    document = json.loads(await stream.readexactly(size))
    if error := document.get("error"):
        raise RefusedError(str(error["what"]), got=str(error["got"]), remedy=str(error["remedy"]))
    return Tested(**document, jpeg=await rest_of(stream, _MAX_JPEG_BYTES))
