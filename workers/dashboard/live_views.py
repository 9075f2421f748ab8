"""The cameras' newest frames, for any number of viewers: a camera is asked once for all who look at it, and not at all while nobody does.

A viewer always gets the newest frame. One that reads slowly skips the others, and holds up nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.errors import RollcallError, TemporaryError
from shared.ipc import wire
from shared.ipc.view import NO_FRAME_S, View, Viewed, view_path

# Seconds between two frames, by divisor: a tile of a wall shows two a second, a large picture five.
_EVERY_S = {1: 0.2, 2: 0.2, 4: 0.5, 8: 0.5}
_RETRY_S = 1.0
_WAIT_S = NO_FRAME_S + 2.0
_MAX_JPEG_BYTES = 32 << 20
_LENGTHS = struct.Struct("<II")
MAX_VIEWERS = 64


@dataclass(frozen=True, eq=False)
class Shot:
    """A frame of a camera: what the camera says of it, and the JPEG. Both are None if the camera gives none now."""

    camera: str
    view: Viewed | None = None
    jpeg: bytes = b""

    def packed(self) -> bytes:
        """As /live sends it: the length of the head and of the JPEG (uint32, little endian), the head as JSON, the JPEG."""
        head: dict[str, Any] = {"camera": self.camera, **(self.view.to_json() if self.view else {"number": None})}
        document = json.dumps(head, separators=(",", ":")).encode()
        return _LENGTHS.pack(len(document), len(self.jpeg)) + document + self.jpeg


NOTHING = _LENGTHS.pack(2, 0) + b"{}"  # says that the stream goes on


class _Feed:
    """One camera in one size. It asks while somebody watches."""

    def __init__(self, path: Path, camera: str, divide: int) -> None:
        self._path, self._camera, self._divide = path, camera, divide
        self.newest: Shot | None = None
        self.watchers: set[asyncio.Event] = set()
        self._task: asyncio.Task[None] | None = None

    def add(self, watcher: asyncio.Event) -> None:
        self.watchers.add(watcher)
        if self._task is None:
            self._task = asyncio.create_task(self._pull())

    def remove(self, watcher: asyncio.Event) -> bool:
        """Whether nobody watches any more."""
        self.watchers.discard(watcher)
        if self.watchers:
            return False
        if self._task is not None:
            self._task.cancel()
        self._task = self.newest = None  # no picture of anybody stays
        return True

    async def _pull(self) -> None:
        while True:
            try:
                await self._pull_until_broken()
            except (OSError, EOFError, RollcallError, TimeoutError, ValueError):
                # The camera is being started, or gives no frames. Its state tells why; here there is only nothing to see.
                self._show(Shot(self._camera))
                await asyncio.sleep(_RETRY_S)

    async def _pull_until_broken(self) -> None:
        with wire.address(self._path) as where:
            reader, writer = await asyncio.open_unix_connection(where)
        try:
            after = 0
            while True:
                began = time.monotonic()
                ask = View(after, self._divide)
                writer.write(wire.encode({"op": View.op, "arguments": ask.to_wire()[0]}))
                shot = await asyncio.wait_for(self._read(reader), _WAIT_S)
                after = shot.view.number if shot.view else after
                self._show(shot)
                await asyncio.sleep(max(0.0, began + _EVERY_S[self._divide] - time.monotonic()))
        finally:
            writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> Shot:
        json_size, jpeg_size = _LENGTHS.unpack(await reader.readexactly(_LENGTHS.size))
        if json_size > wire.MAX_JSON_BYTES or jpeg_size > _MAX_JPEG_BYTES:
            raise TemporaryError("an answer over the limits", where=self._camera)
        document = json.loads(await reader.readexactly(json_size))
        jpeg = await reader.readexactly(jpeg_size)
        wire.raise_error(document)
        return Shot(self._camera, Viewed.from_json(document), jpeg)

    def _show(self, shot: Shot) -> None:
        self.newest = shot
        for watcher in self.watchers:
            watcher.set()


class Watching:
    """One viewer's look at some cameras."""

    def __init__(self, feeds: Iterable[_Feed], changed: asyncio.Event) -> None:
        self._feeds, self._changed = list(feeds), changed
        self._seen: dict[_Feed, Shot | None] = {}

    def news(self) -> Iterator[Shot]:
        """The newest frame of each camera that has a newer one than this viewer got. None twice."""
        self._changed.clear()
        for feed in self._feeds:
            shot, seen = feed.newest, self._seen.get(feed)
            if shot is None or shot is seen or (seen is not None and seen.view is None and shot.view is None):
                continue
            self._seen[feed] = shot
            yield shot

    async def wait(self, timeout_s: float) -> None:
        """Wait for news."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), timeout_s)


class LiveViews:
    """All feeds. Use it from one event loop."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._feeds: dict[tuple[str, int], _Feed] = {}
        self._viewers: set[asyncio.Event] = set()

    @property
    def viewers(self) -> int:
        """How many look on."""
        return len(self._viewers)

    @contextmanager
    def watch(self, wanted: Iterable[tuple[str, int]]) -> Iterator[Watching]:
        """Look at these cameras, each by its name with a divisor."""
        changed, keys = asyncio.Event(), list(dict.fromkeys(wanted))
        self._viewers.add(changed)
        feeds = []
        for key in keys:
            feed = self._feeds.setdefault(key, _Feed(view_path(self._run_dir, key[0]), *key))
            feed.add(changed)
            feeds.append(feed)
        try:
            yield Watching(feeds, changed)
        finally:
            self._viewers.discard(changed)
            for key, feed in zip(keys, feeds, strict=True):
                if feed.remove(changed):
                    del self._feeds[key]

    def wake(self) -> None:
        """End all waiting: the process stops."""
        for changed in self._viewers:
            changed.set()
