"""Photos to embeddings in processes of their own: one each core for many, one that only decodes for a few.

A process that dies costs the photo that it had in hand, which is refused by name; so does one that takes too long. It is
replaced, and the rest goes on. Processes talk in frames over a socket each; at most one photo is with each of them.
"""

from __future__ import annotations

import contextlib
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from shared.errors import RefusedError, RollcallError, TemporaryError
from shared.ipc import wire
from shared.photos.reading import Image, Photo, load_photo
from shared.process.machine import usable_cpus, usable_memory_bytes
from shared.settings.schema import Settings
from shared.supervision.child_process import bare_environment
from workers.photos.embedding import embed_image, enrolment_gate, refusal_reason
from workers.photos.process import Limits
from workers.recognition.engine import Engine

_FEW = 6  # photos: below it a process's start costs more than it saves
_DECODING_BYTES = 256 << 20  # what a process takes beside its engine while it decodes one of a phone's photos
_START_S = 120.0  # a large model on a slow disk
_DYING_S = 1.0  # from a channel's end to the process's
_MAX_FAILED_STARTS = 3  # one after another

_LIMITS = Limits()


@dataclass(frozen=True, eq=False)
class PhotoResult:
    """One photo's outcome: its `embedding` (dim,) float32, or the `reason` why there is none."""

    photo: Photo
    embedding: NDArray[np.float32] | None
    reason: str | None


def embed_photos(
    settings: Settings,
    engine: Engine,
    photos: Iterable[Photo],
    count: int,
    *,
    gated: bool = False,
    limits: Limits = _LIMITS,
) -> Iterator[PhotoResult]:
    """The photos' results as they are ready, in any order; `count`: how many there are at most.

    `photos` are taken as they are needed: one more than there are processes is held at a time. `engine` embeds a few,
    processes of their own many. `gated`: refuse what is unfit to become a reference; without, photos that are references
    already are embedded anew. Raises TemporaryError when no process can be started.
    """
    processes = _how_many(count)
    if processes > 1:
        document = settings.to_json()
        document["settings"]["cameras"] = {}  # no business of theirs
        first = {"embed": True, "gated": gated, "settings": document, "limits": limits.to_json()}
        with PhotoProcesses(processes, first, limits) as pool:
            for photo, answer in pool.run(photos):
                if isinstance(answer, RefusedError):
                    yield PhotoResult(photo, None, refusal_reason(answer))
                else:
                    yield PhotoResult(photo, np.frombuffer(answer[1], "<f4").astype(np.float32), None)
        return
    gate = enrolment_gate(engine, settings.recognition.min_face_px) if gated else None
    with PhotoReader(limits) as reader:
        for photo in photos:
            try:
                yield PhotoResult(photo, embed_image(engine, reader.decode(photo)[0], gate).embedding, None)
            except RefusedError as error:
                yield PhotoResult(photo, None, refusal_reason(error))


def _how_many(count: int) -> int:
    """Processes for `count` photos: what processors and memory allow; each has an engine, as this process has one by now."""
    each = psutil.Process().memory_info().rss + _DECODING_BYTES
    return max(1, min(usable_cpus(), count // _FEW, usable_memory_bytes() // each))


class PhotoReader:
    """Decodes one photo after another in a process without an engine: `with PhotoReader() as reader`."""

    def __init__(self, limits: Limits = _LIMITS) -> None:
        first = {"embed": False, "limits": limits.to_json()}
        self._processes = PhotoProcesses(1, first, limits)

    def decode(self, photo: Photo) -> tuple[Image, int]:
        """As `shared.photos.reading.decode_photo`. Raises RefusedError for what can't be decoded, or not within the limits."""
        ((_, answer),) = self._processes.run([photo])
        if isinstance(answer, RefusedError):
            raise answer
        document, pixels = answer
        return np.frombuffer(pixels, np.uint8).reshape(document["shape"]), int(document["scale"])

    def read_scaled(self, path: Path | str) -> tuple[Image, int]:
        """As `shared.photos.reading.read_scaled`, within the limits. Raises RefusedError."""
        return self.decode(load_photo(path))

    def __enter__(self) -> PhotoReader:
        return self

    def __exit__(self, *unused: object) -> None:
        self._processes.close()


Answer = tuple[dict[str, Any], bytes] | RefusedError


class PhotoProcesses:
    """At most `most` processes, started as they are needed, each of which gets the frame `first`."""

    def __init__(self, most: int, first: dict[str, Any], limits: Limits) -> None:
        self._most, self._first, self._limits = most, first, limits
        self._running: list[_Process] = []
        self._failed_starts = 0

    def __enter__(self) -> PhotoProcesses:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all of them, whatever they do."""
        for process in self._running:
            process.end(0.0)
        self._running.clear()

    def run(self, photos: Iterable[Photo]) -> Iterator[tuple[Photo, Answer]]:
        """Each photo's answer: the frame that a process gave, or why it was refused. Raises TemporaryError."""
        remaining = iter(photos)
        following = next(remaining, None)
        while following is not None or any(process.photo for process in self._running):
            idle = next((process for process in self._running if process.ready and not process.photo), None)
            if following is not None and idle is not None:
                idle.give(following, self._limits.time_s)
                following = next(remaining, None)
                continue
            if following is not None and len(self._running) < self._most:
                self._running.append(_Process(self._first))
                continue
            yield from self._hear()

    def _hear(self) -> Iterator[tuple[Photo, Answer]]:
        """Wait for one of them at least to answer, to be ready, to end or to be late."""
        with selectors.DefaultSelector() as selector:
            for process in self._running:
                if process.photo or not process.ready:
                    selector.register(process.channel, selectors.EVENT_READ, process)
            soonest = min(key.data.deadline for key in selector.get_map().values())
            heard = [key.data for key, _ in selector.select(max(0.0, soonest - time.monotonic()))]
        late = [process for process in self._running if process.deadline <= time.monotonic()]
        for process in dict.fromkeys([*heard, *late]):
            photo = process.photo
            answer = process.answer()
            if process.dead:
                self._running.remove(process)
            if photo is not None:
                yield photo, answer if answer is not None else process.refusal(self._limits)
            elif process.dead:
                self._count_failed_start(process)
            if not process.dead:
                self._failed_starts = 0

    def _count_failed_start(self, process: _Process) -> None:
        """Go on with those that run, one fewer; without any, try again a few times."""
        self._failed_starts += 1
        self._most = max(1, self._most - 1)
        if not self._running and self._failed_starts >= _MAX_FAILED_STARTS:
            raise TemporaryError(
                "no process that reads photos can be started",
                got=process.how_it_ended(),
                remedy="look at the lines above, at the memory that is free, and try again",
            )


class _Process:
    """One of them: `photo`, the one in hand; `deadline` for its answer, by the monotonic clock."""

    def __init__(self, first: dict[str, Any]) -> None:
        self.channel, theirs = socket.socketpair()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "workers.photos.process"],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env=bare_environment(),
                process_group=0,
            )
        except OSError:
            self.channel.close()
            raise
        finally:
            theirs.close()
        self._buffer = wire.MessageBuffer()
        self.ready = self.dead = self._late = False
        self.photo: Photo | None = None
        self.deadline = time.monotonic() + _START_S
        self._send(wire.encode(first))

    def give(self, photo: Photo, time_s: float) -> None:
        """Hand it a photo. One that it can't take any more is told by `answer`, as one that it does not answer."""
        self.photo, self.deadline = photo, time.monotonic() + time_s
        self._send(wire.encode({"suffix": photo.path.suffix.encode("ascii", "ignore").decode()}, photo.data))

    def answer(self) -> Answer | None:
        """What it has to say by now: None for a photo that it will never answer, and when it has only become ready."""
        try:
            self.channel.settimeout(max(0.001, self.deadline - time.monotonic()))
            document, blob = wire.receive(self.channel, self._buffer)
        except TimeoutError:
            self._late = True
            self.end(0.0)
            return None
        except (ConnectionError, RefusedError):  # RefusedError: no frame of ours came
            self.end(_DYING_S)
            return None
        finally:
            self.photo = None
        self.deadline = float("inf")
        try:
            wire.raise_error(document)
        except RefusedError as error:
            return error
        except RollcallError:  # the engine can't be opened: no other process could either
            self.end(_DYING_S)
            raise
        if not self.ready:
            self.ready = True
            return None
        return document, blob

    def refusal(self, limits: Limits) -> RefusedError:
        """Why the photo that it had has no answer."""
        if self._late or self._process.returncode == -signal.SIGXCPU:
            within = f"{limits.time_s:.0f} s" if self._late else f"{limits.cpu_s} s of processor time"
            return RefusedError(
                "the photo takes too long to read",
                expected=within,
                remedy="open it in an image editor and save it anew",
            )
        return RefusedError(
            "the process that read this photo died",
            got=self.how_it_ended(),
            remedy="try again; if that does not help, open it in an image editor and save it anew",
        )

    def how_it_ended(self) -> str:
        code = self._process.returncode
        if code < 0:
            return f"signal {-code}, {signal.strsignal(-code)}" + (
                " (out of memory?)" if code == -signal.SIGKILL else ""
            )
        return f"exit code {code}"

    def end(self, patience_s: float) -> None:
        """End it, when it has not ended by itself after `patience_s`: how it ended by itself is what is told."""
        self.dead = True
        self.channel.close()
        try:
            self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _send(self, frame: bytes) -> None:
        self.channel.settimeout(max(0.001, self.deadline - time.monotonic()))
        with contextlib.suppress(TimeoutError, ConnectionError):  # it hangs or has ended: the answer that it owes tells
            self.channel.sendall(frame)
