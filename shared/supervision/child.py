"""The child's end of the connection with the supervisor: process title, heartbeat, stop, and an end when the supervisor dies.

A process that is started by hand has no supervisor. Then everything works, but nobody receives the heartbeat.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import FrameType

from setproctitle import setproctitle

from shared.errors import EXIT_BUG, EXIT_DONE, EXIT_TEMPORARY, FaultList, RollcallError, disk_fault
from shared.printing import for_log, start_logging
from shared.process.library_faults import library_fault
from shared.process.private_memory import keep_memory_private
from shared.process.work_progress import listen
from shared.settings.sources import hide_addresses
from shared.status import ChildStatus
from shared.supervision.variables import CHANNEL_VARIABLE, PARENT_VARIABLE

_HEARTBEAT_S = 1.0
_PR_SET_PDEATHSIG = 1


class StopAsked(BaseException):  # not an Exception, so that no handler of errors catches it on its way
    """Ends long work when the process is asked to stop. The outermost loop then ends with exit code 0."""


class Child:
    """The child's end. Make one at the start of the process, in its main thread."""

    def __init__(self, title: str) -> None:
        """`title`: how `ps` shows this process."""
        setproctitle(title)
        self.stop_event = threading.Event()
        self._wake: list[Callable[[], None]] = []
        self._channel = _open_channel()
        self._sent_at = 0.0
        self._sent_outline: tuple[object, ...] = ()
        listen(self.heartbeat)
        die_with_parent()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop)
        # A terminal's SIGHUP reaches the supervisor, and the supervisor decides what we do. It started us with the signal blocked.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
        if self._channel is not None:
            threading.Thread(target=self._watch_parent, name="parent-watch", daemon=True).start()

    @property
    def stopping(self) -> bool:
        """Whether the process was asked to stop."""
        return self.stop_event.is_set()

    def on_stop(self, wake: Callable[[], None]) -> None:
        """Have `wake` called when the process is asked to stop. The signal handler calls it, so it must be safe there."""
        self._wake.append(wake)

    def wait(self, timeout_s: float) -> bool:
        """Wait until the process is asked to stop, at most `timeout_s`. Returns whether it was."""
        return self.stop_event.wait(timeout_s)

    def heartbeat(self, status: ChildStatus | None = None) -> None:
        """Report progress, from the work loop. `status` None: nothing has changed.

        Sends at most one message a second, and one at each change of the status' outline.
        """
        now = time.monotonic()
        outline = self._sent_outline if status is None else status.outline
        if self._channel is None or (now - self._sent_at < _HEARTBEAT_S and outline == self._sent_outline):
            return
        self._sent_at, self._sent_outline = now, outline
        said = {} if status is None else status.to_json()
        line = json.dumps(said, separators=(",", ":")).encode() + b"\n"
        with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
            # A full channel loses a heartbeat and never blocks the work. The flag is needed because _watch_parent sets the socket, which
            # its copy shares, to blocking.
            self._channel.send(line, socket.MSG_DONTWAIT)

    def progress(self, *_: object) -> None:
        """Report progress from inside long work. Raises StopAsked if the process was asked to stop, which ends the work."""
        self.heartbeat()
        if self.stopping:
            raise StopAsked

    def _on_stop(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  # the handler's signature
        self.stop_event.set()
        for wake in self._wake:
            wake()

    def _watch_parent(self) -> None:
        """End the process when the channel ends, because the supervisor is gone then. Needed without a death signal (macOS)."""
        assert self._channel is not None  # started only with a channel
        reader = self._channel.dup()
        reader.setblocking(True)
        with contextlib.suppress(ConnectionResetError):
            while reader.recv(4096):
                pass
        os._exit(EXIT_TEMPORARY)


def _open_channel() -> socket.socket | None:
    number = os.environ.pop(CHANNEL_VARIABLE, None)
    if number is None:
        return None
    channel = socket.socket(fileno=int(number))
    channel.set_inheritable(False)
    channel.setblocking(False)
    return channel


def die_with_parent() -> None:
    """Have the kernel kill this process when the one that started it dies, if that one has named itself in the environment. Ends it at once
    if that one is dead already."""
    parent = os.environ.pop(PARENT_VARIABLE, None)
    if parent is None:
        return
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):
        os._exit(EXIT_TEMPORARY)


def _traceback() -> str:
    """The traceback for the log. Addresses are hidden, because its last line, the error's text, may contain anything."""
    lines = hide_addresses(traceback.format_exc()).splitlines()
    return "".join(f"{for_log(line)}\n" for line in lines)


def run_child(main: Callable[[], int]) -> int:
    """Run a process's main function. Every way to end becomes an exit code, and every fault a line on standard error."""
    keep_memory_private()
    start_logging()
    try:
        return main()
    except (KeyboardInterrupt, StopAsked):
        return EXIT_DONE
    except RollcallError as error:
        for fault in error.faults if isinstance(error, FaultList) else [error]:
            sys.stderr.write(f"{for_log(fault.line())}\n")
        return error.exit_code
    except ImportError as error:  # a library that a module imports only when it needs it
        absent = library_fault(error)
        sys.stderr.write(f"{for_log(absent.line())}\n")
        return absent.exit_code
    except OSError as error:
        disk = disk_fault(error)
        sys.stderr.write(f"{_traceback()}{for_log(disk.line())}\n")
        return disk.exit_code
    except Exception:  # noqa: BLE001  # the outermost loop: a bug must end as 70, with its traceback in the journal
        sys.stderr.write(_traceback())
        return EXIT_BUG
