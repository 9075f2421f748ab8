"""Embeds photos in other processes: many photos in one process per core; of a few photos, only the decoding runs in another.

A process that dies or takes too long costs only the photo that it had: that photo is refused by name, the process is
replaced, and the other photos go on. Each process has its own socket, and answers one message at a time: at most one photo
is with each process.
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

_FEW = 6  # a further process is worth its start only for at least so many photos
_DECODING_BYTES = 256 << 20  # memory that a process takes beside its engine while it decodes a phone's photo
_START_S = 120.0  # time limit of a process's start: a large model on a slow disk
_DYING_S = 1.0  # time from the end of a channel to the end of its process
_MAX_FAILED_STARTS = 3  # in a row

_LIMITS = Limits()


@dataclass(frozen=True, eq=False)
class PhotoResult:
    """One photo's outcome: its `embedding` (dim,) float32, or the `reason` why there is none. `turn`: how far the head is turned sideways."""

    photo: Photo
    embedding: NDArray[np.float32] | None
    reason: str | None
    turn: float | None = None


def embed_photos(
    settings: Settings,
    engine: Engine,
    photos: Iterable[Photo],
    count: int,
    *,
    gated: bool = False,
    limits: Limits = _LIMITS,
    reader: PhotoReader | None = None,
) -> Iterator[PhotoResult]:
    """Yield the photos' results as they become ready, in any order. `count`: how many photos there are at most.

    `photos` is read as needed: at any time, one photo more is held than there are processes. A few photos are embedded with
    `engine` in this process, many photos in other processes. `gated`: refuse photos that are unfit to become a reference; False
    for photos that are references already and are embedded again. `reader`: decodes a few
    photos; None: a new one. Raises TemporaryError when no process can be started.
    """
    processes = _how_many(count)
    if processes > 1:
        document = settings.to_json()
        document["settings"]["cameras"] = {}  # these processes need no cameras, and their sources may hold passwords
        first = {"embed": True, "gated": gated, "settings": document, "limits": limits.to_json()}
        with PhotoProcesses(processes, first, limits) as pool:
            for photo, answer in pool.run(photos):
                if isinstance(answer, RefusedError):
                    yield PhotoResult(photo, None, refusal_reason(answer))
                else:
                    yield PhotoResult(
                        photo, np.frombuffer(answer[1], "<f4").astype(np.float32), None, answer[0]["turn"]
                    )
        return
    gate = enrolment_gate(engine, settings.recognition.min_face_px) if gated else None
    with contextlib.nullcontext(reader) if reader is not None else PhotoReader(limits) as decoder:
        for photo in photos:
            try:
                found = embed_image(engine, decoder.decode(photo)[0], gate)
                yield PhotoResult(photo, found.embedding, None, found.turn)
            except RefusedError as error:
                yield PhotoResult(photo, None, refusal_reason(error))


def _how_many(count: int) -> int:
    """How many processes to use for `count` photos: as many as cores and free memory allow.

    Each holds an engine. So does this process already, and its size shows how much memory that takes.
    """
    each = psutil.Process().memory_info().rss + _DECODING_BYTES
    return max(1, min(usable_cpus(), count // _FEW, usable_memory_bytes() // each))


class PhotoReader:
    """Decodes photos, one after another, in another process without an engine. Use it as `with PhotoReader() as reader`."""

    def __init__(self, limits: Limits = _LIMITS, *, heic: bool = False) -> None:
        """`heic`: decode HEIC, too."""
        first = {"embed": False, "limits": limits.to_json(), "heic": heic}
        self._processes = PhotoProcesses(1, first, limits)

    def decode(self, photo: Photo) -> tuple[Image, int]:
        """As `shared.photos.reading.decode_photo`. Raises RefusedError when a photo can't be decoded within the limits."""
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
    """At most `most` processes, started as they are needed. Each gets the message `first` at its start."""

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
        """End all processes at once, whatever they are doing."""
        for process in self._running:
            process.end(0.0)
        self._running.clear()

    def run(self, photos: Iterable[Photo]) -> Iterator[tuple[Photo, Answer]]:
        """Yield each photo with a process's answer, or with the error that refuses it. Raises TemporaryError when no process can
        be started."""
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
            yield from self._await_answers()

    def _await_answers(self) -> Iterator[tuple[Photo, Answer]]:
        """Wait until at least one process has answered, is ready, has ended or is late. Yield the photos that are decided."""
        with selectors.DefaultSelector() as selector:
            for process in self._running:
                if process.photo or not process.ready:
                    selector.register(process.channel, selectors.EVENT_READ, process)
            soonest = min(key.data.deadline for key in selector.get_map().values())
            answered = [key.data for key, _ in selector.select(max(0.0, soonest - time.monotonic()))]
        late = [process for process in self._running if process.deadline <= time.monotonic()]
        for process in dict.fromkeys([*answered, *late]):
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
        """A process has failed at its start: go on with one fewer. If none runs, try again; raise TemporaryError after a few times."""
        self._failed_starts += 1
        self._most = max(1, self._most - 1)
        if not self._running and self._failed_starts >= _MAX_FAILED_STARTS:
            raise TemporaryError(
                "no process that reads photos can be started",
                got=process.how_it_ended(),
                remedy="read the lines above, check the free memory, and try again",
            )


class _Process:
    """One process. `photo`: the one that it has now. `deadline`: for its answer, monotonic seconds. `ready`: its engine is loaded.
    `dead`: it was ended."""

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
        """Send it a photo. If it can't take the photo any more, `answer` finds that out, as if it had not answered."""
        self.photo, self.deadline = photo, time.monotonic() + time_s
        self._send(wire.encode({"suffix": photo.path.suffix.encode("ascii", "ignore").decode()}, photo.data))

    def answer(self) -> Answer | None:
        """Read its answer. None when it has only become ready, or will never answer: then it was ended, and `dead` is set.

        Raises RollcallError when its engine can't be opened.
        """
        try:
            self.channel.settimeout(max(0.001, self.deadline - time.monotonic()))
            document, blob = wire.receive(self.channel, self._buffer)
        except TimeoutError:
            self._late = True
            self.end(0.0)
            return None
        except (ConnectionError, RefusedError):  # RefusedError: it sent bytes that are none of our messages
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
        """The error for the photo that it did not answer."""
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
        """Wait `patience_s` for it to end by itself, so that `how_it_ended` gives the cause; then kill it."""
        self.dead = True
        self.channel.close()
        try:
            self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _send(self, message: bytes) -> None:
        self.channel.settimeout(max(0.001, self.deadline - time.monotonic()))
        with contextlib.suppress(TimeoutError, ConnectionError):  # it hangs or has ended: `answer` finds that out
            self.channel.sendall(message)
