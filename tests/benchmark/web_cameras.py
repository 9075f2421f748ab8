"""Cases of `python -m tests.benchmark.web` on a site with cameras: what a wall costs that somebody watches, and what the web part costs a camera
that nobody watches.

The cameras play a 720p clip of an empty room, 25 frames a second, in real time, with the settings as they are but for a model pack of a
few kilobytes. So what they cost is reading and decoding. `decode = "always"` and `"on_demand"` are measured, the settings of a camera.
"""

from __future__ import annotations

import contextlib
import json
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from shared.ipc.view import NO_FRAME_S
from shared.records import Role
from tests.benchmark.web_figures import Figures, cores_over, median
from tests.support.camera_streams import SIZES, empty_stream
from tests.support.tiny_pack import write_pack
from tests.support.web_site import WebSite, web_site

CASES = ("live", "unwatched")
CAMERAS = 4
_TILES = 16  # what the goal is for
_SIZE = "720p"
_DECODING = ("always", "on_demand")
_CLIP_S = 40
_KEYFRAME_S = 2.0
_WARM_S = 8.0
_ROUNDS, _ROUND_S = 3, 8.0
_SETTLES_S = 2.0  # after the wall, or the web part, came or went
_QUIET_S = 10.0  # until a camera passes pictures over again
_WAIT_S = 30.0


class Wall:
    """Somebody who watches all cameras in small, on a thread."""

    def __init__(self, web: WebSite, names: list[str]) -> None:
        self.frames = 0
        cameras = ",".join(f"{name}:4" for name in names)
        self._answer = web.visitor(Role.VIEWER).ask("GET", f"/api/v1/live?cameras={cameras}", stream=True)
        self._answer.raise_for_status()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        raw = self._answer.raw
        with contextlib.suppress(requests.RequestException, ValueError, AttributeError, OSError):  # it was closed
            while len(lengths := raw.read(8)) == 8:
                head_size, jpeg_size = struct.unpack("<II", lengths)
                head, jpeg = json.loads(raw.read(head_size)), raw.read(jpeg_size)
                self.frames += bool(head.get("number") and jpeg)

    def close(self) -> None:
        self._answer.close()


@contextmanager
def camera_site(folder: Path, decode: str, cameras: int = CAMERAS) -> Iterator[WebSite]:
    """A site with so many cameras, all up, and its web part."""
    write_pack(folder / "data" / "models" / "tiny")
    clip = empty_stream(folder / "room.mp4", *SIZES[_SIZE], seconds=_CLIP_S, keyframe_s=_KEYFRAME_S)
    camera = f'source = "{clip}"\nrealtime = true\nloop = true\ndecode = "{decode}"\n'
    sections = "".join(f"[cameras.camera-{number}]\n{camera}" for number in range(cameras))
    with web_site(folder, text=f'[recognition]\nmodel = "tiny"\n{sections}') as web:
        for number in range(cameras):
            web.site.wait_for_event(event="camera_up", camera=f"camera-{number}")
        yield web


def measure(folder: Path, cases: set[str]) -> list[Figures]:
    results: list[Figures] = []
    for decode in _DECODING:
        (within := folder / decode).mkdir()
        with camera_site(within, decode) as web:
            threading.Event().wait(_WARM_S)
            if "live" in cases:
                results.append({"case": "live", "decode": decode, **_live(web)})
            if "unwatched" in cases:
                results.append({"case": "unwatched", "decode": decode, **_unwatched(web)})
    return results


def _pids(web: WebSite) -> list[int]:
    return [one["pid"] for one in web.site.status()["cameras"].values()]


def _live(web: WebSite) -> Figures:
    """With and without somebody who watches, in turn. Figures are for 16 tiles: those of the cameras that there are, times a factor."""
    names, cameras, pid = list(web.site.status()["cameras"]), _pids(web), web.site.child_pid("web")
    more: list[tuple[float, float]] = []
    unwatched, rates = [], []
    for _ in range(_ROUNDS):
        before = cores_over(_ROUND_S, cameras, [pid])
        wall = Wall(web, names)
        threading.Event().wait(NO_FRAME_S + _QUIET_S)  # whoever comes gets moving pictures for a moment
        frames, began = wall.frames, time.monotonic()
        watched = cores_over(_ROUND_S, cameras, [pid])
        rates.append((wall.frames - frames) / (time.monotonic() - began) / len(names))
        wall.close()
        threading.Event().wait(_SETTLES_S)
        more.append((watched[0] - before[0], watched[1] - before[1]))
        unwatched.append(before[0] / len(names))
    factor = _TILES / len(names)
    of_cameras, of_web = ([factor * one[part] for one in more] for part in (0, 1))
    return {
        "tiles": _TILES,
        "cameras": len(names),
        "tile_fps": median(rates, 2),
        "cores": median([sum(both) for both in zip(of_cameras, of_web, strict=True)], 3),
        "cameras_cores": median(of_cameras, 3),
        "web_cores": median(of_web, 3),
        "camera_unwatched_cores": median(unwatched, 4),
    }


def _unwatched(web: WebSite) -> Figures:
    """The same cameras go on while the web part is switched on and off in the settings."""
    cameras, count = _pids(web), len(_pids(web))
    on: list[float] = []
    off: list[float] = []
    for _ in range(_ROUNDS):
        on += [one / count for one in cores_over(_ROUND_S, cameras)]
        _switch(web, enabled=False)
        off += [one / count for one in cores_over(_ROUND_S, cameras)]
        _switch(web, enabled=True)
    assert _pids(web) == cameras, "a camera was restarted"
    return {
        "cameras": count,
        "cores": median(on, 4),
        "off_cores": median(off, 4),
        "more_cores": round(median(on, 4) - median(off, 4), 4),
        "ratio": round(median(on, 6) / median(off, 6), 3),
    }


def _switch(web: WebSite, *, enabled: bool) -> None:
    """Switch the web part on or off, and wait until it is."""
    path = web.site.folder / "site.toml"
    before, after = f"enabled = {str(not enabled).lower()}", f"enabled = {str(enabled).lower()}"
    path.write_text(path.read_text(encoding="utf-8").replace(before, after), encoding="utf-8")
    web.site.sighup()

    def is_done() -> bool:
        try:
            return requests.get(f"{web.address}/livez", timeout=2).ok is enabled
        except requests.Timeout:  # it is ending, or beginning
            return False
        except requests.ConnectionError:
            return not enabled

    web.site.wait_for(is_done, "web part that is switched", _WAIT_S)
    threading.Event().wait(_SETTLES_S)
