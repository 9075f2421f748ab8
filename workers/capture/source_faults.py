"""Why a video source gives no pictures, in words that help to mend it, without its password. FFmpeg gives no reason."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from shared.settings.sources import Source, SourceKind


def why_not_open(source: Source) -> str:
    """Why `source` could not be opened. Of a network camera: the one reason that is left when `stream_probe` found no fault."""
    if source.kind is SourceKind.FILE:
        return f"{source.shown}: {_why_no_file(Path(str(source.address)))}"
    if source.kind is SourceKind.DEVICE:
        device = Path(source.address if isinstance(source.address, str) else source.shown)
        fault = "gives no video, or is in use" if os.access(device, os.R_OK) else _why_no_file(device)
        return f"{source.shown}: {fault}"
    return f"{source.shown}: the host answers but gives no video: wrong path, or a stream that can't be decoded"


def is_regular(path: Path) -> bool:
    """Whether `path` is a file with an end, not a folder, a named pipe or a device. False if it can't be read."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def _why_no_file(path: Path) -> str:
    try:
        if path.is_dir():
            return "is a folder, not a video"
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))  # a named pipe would block here
        if not is_regular(path):
            return "is not a file"
    except OSError as error:
        return (error.strerror or "can't be read").lower()
    return "is not a video that FFmpeg can read"
