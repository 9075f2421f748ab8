"""The web process's end of the process that looks at photos (workers/photos/desk.py): started when somebody hands in a photo, ended when nobody
has for a minute. So the web process holds no engine, maps no gallery and decodes nothing.

It takes one request at a time, and those that wait are bounded. One that hangs or dies is replaced, and costs the request that it had.
"""

from __future__ import annotations

import array
import asyncio
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from shared.errors import RefusedError, TemporaryError
from shared.ipc import wire
from shared.ipc.requests.base import Answer_co, Request
from shared.settings.schema import Settings
from shared.supervision.child_process import bare_environment

_MODULE = "workers.photos.desk"
_IDLE_S = 60.0
_START_S = 120.0  # a large model on a slow disk
# A photo that is slow to decode is given up within 120 s (workers/photos/process.py), and says so.
_ANSWER_S = 150.0
_END_S = 2.0
_MAX_WAITING = 32


class PhotoDesk:
    """Use `ask` from one event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # This thread lives as long as this process does: the kernel ends a child when the thread that started it ends.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="photo-desk")
        self._lock = threading.Lock()
        self._process: _Process | None = None
        self._waiting, self._used_at = 0, 0.0

    @property
    def pid(self) -> int | None:
        """The process's id while there is one."""
        process = self._process
        return None if process is None else process.pid

    async def ask(self, request: Request[Answer_co], file: int | None = None, data: bytes = b"") -> Answer_co:
        """The answer to one request. `file`: the descriptor of a photo's open file; or `data`: a frame's bytes.

        Raises the error that the process raised; TemporaryError if it does not answer, or if too many requests wait.
        """
        if self._waiting >= _MAX_WAITING:
            raise TemporaryError("too many photos wait to be looked at", got=self._waiting, remedy="try again")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._ask, request, file, data)
        finally:
            self._waiting -= 1
            self._used_at = time.monotonic()

    def _ask(self, request: Request[Answer_co], file: int | None, data: bytes) -> Answer_co:
        process = self._running()
        try:
            document = process.exchange({"op": request.op, "arguments": request.to_wire()[0]}, file, data, _ANSWER_S)
        except (OSError, EOFError, RefusedError) as error:  # RefusedError: bytes that are none of our messages
            self._end(process)
            raise _gone(type(error).__name__) from error
        wire.raise_error(document)
        answer: Answer_co = request.answer.from_json(document)
        return answer

    def _running(self) -> _Process:
        with self._lock:
            if self._process is None:
                self._process = _Process()
            process = self._process
        if process.ready:
            return process
        document = self._settings.for_child().to_json()
        try:
            answer = process.exchange({"settings": document}, None, b"", _START_S)
        except (OSError, EOFError, RefusedError) as error:
            self._end(process)
            raise _gone(type(error).__name__) from error
        if "error" in answer:
            self._end(process)
            wire.raise_error(answer)
        process.ready = True
        return process

    def _end(self, process: _Process) -> None:
        with self._lock:
            if self._process is process:
                self._process = None
        process.end()

    def end_if_idle(self) -> None:
        """End the process if nobody has needed it for a while."""
        process = self._process
        if process is not None and not self._waiting and time.monotonic() - self._used_at > _IDLE_S:
            self._thread.submit(self._end, process)

    def close(self) -> None:
        """End the process, whatever it does. A request that waits for it gives up."""
        process = self._process
        if process is not None:
            process.kill()
        self._thread.shutdown(wait=False, cancel_futures=True)


class _Process:
    """One process, and the channel to it. `ready`: its engine is loaded."""

    def __init__(self) -> None:
        self._channel, theirs = socket.socketpair()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", _MODULE],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env=bare_environment(),
                process_group=0,
            )
        except OSError:
            self._channel.close()
            raise
        finally:
            theirs.close()
        self._buffer = wire.MessageBuffer()
        self.ready = False

    @property
    def pid(self) -> int:
        return self._process.pid

    def exchange(self, document: dict[str, Any], file: int | None, data: bytes, limit_s: float) -> dict[str, Any]:
        """Send a message, with a file or with bytes, and wait for the answer. Raises OSError, or RefusedError for what is no message."""
        self._channel.settimeout(limit_s)
        message = wire.encode(document, data)
        if file is None:
            self._channel.sendall(message)
        else:
            carried = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [file]))]
            sent = self._channel.sendmsg([message], carried)
            self._channel.sendall(message[sent:])
        return wire.receive(self._channel, self._buffer)[0]

    def kill(self) -> None:
        self._process.kill()

    def end(self) -> None:
        """Close the channel, at which it ends; kill it if it does not."""
        self._channel.close()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _gone(why: str) -> TemporaryError:
    return TemporaryError(
        "the process that looks at photos does not answer",
        got=why,
        remedy="try again; if it stays so, see the site's log",
    )
