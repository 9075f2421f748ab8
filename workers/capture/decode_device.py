"""Which device decodes: the CPU, or one that FFmpeg knows and that is there. What is not there is no fault: the CPU decodes."""

from __future__ import annotations

from functools import cache

import av
from av.codec.hwaccel import HWAccel, hwdevices_available
from av.error import FFmpegError

AUTO, CPU = "auto", "cpu"
_TRIED = ("h264", "hevc")  # what cameras send; a device that decodes neither is of no use


def device_for(wanted: str) -> str:
    """The device to decode with, for `decode_device` of the settings: a name of `hwdevices_available`, or "cpu"."""
    if wanted == CPU:
        return CPU
    known = hwdevices_available() if wanted == AUTO else [wanted]
    return next((device for device in known if why_not_usable(device) is None), CPU)


@cache
def why_not_usable(device: str) -> str | None:
    """Why a device can't decode here, in words; None: it can. The first call opens it, which may take a second."""
    if device not in hwdevices_available():
        return f"this FFmpeg has no {device}; it has {', '.join(hwdevices_available()) or 'none'}"
    for codec in _TRIED:
        try:
            HWAccel(device).create(av.Codec(codec, "r"))
        except NotImplementedError:
            continue  # not this codec
        except (FFmpegError, OSError) as error:
            return f"{device} can't be opened: {(error.strerror or 'no such device').lower()}"
        return None
    return f"{device} decodes no H.264 and no HEVC"
