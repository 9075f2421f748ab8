"""A process's bond with the supervisor: its title, its heartbeat, how it is asked to stop, and that it does not outlive it.

Without a supervisor (run by hand) everything works but the heartbeat goes nowhere.
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
from typing import Any

from setproctitle import setproctitle

from shared.errors import EXIT_BUG, EXIT_DONE, EXIT_TEMPORARY, FaultList, RollcallError, disk_fault
from shared.printing import for_log, start_logging
from shared.process.library_faults import library_fault
from shared.process.private_memory import keep_memory_private
from shared.process.work_progress import listen
from shared.settings.file import find_config, load_settings
from shared.settings.schema import Settings
from shared.settings.sources import hide_addresses
from shared.status import ChildStatus
from shared.supervision.child_process import CHANNEL_VARIABLE, PARENT_VARIABLE

_HEARTBEAT_S = 1.0
_PR_SET_PDEATHSIG = 1


class StopAsked(BaseException):  # no error, and no handler of errors on the way may keep it
    """Raised out of long work when the process was asked to stop; the outermost loop ends with exit code 0."""


class Child:
    """One process's side of the bond."""

    def __init__(self, title: str) -> None:
        setproctitle(title)
        self.stop_event = threading.Event()
        self._wake: list[Callable[[], None]] = []
        self._channel = _open_channel()
        self._sent_at = 0.0
        self._sent_outline: tuple[object, ...] = ()
        listen(self.heartbeat)
        parent = os.environ.pop(PARENT_VARIABLE, None)
        if parent is not None:
            die_with_parent(int(parent))
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop)
        # A terminal's hang-up reaches the supervisor, which tells us what to do. It started us with the signal blocked.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
        if self._channel is not None:
            threading.Thread(target=self._watch_parent, name="parent-watch", daemon=True).start()

    @property
    def stopping(self) -> bool:
        return self.stop_event.is_set()

    def on_stop(self, wake: Callable[[], None]) -> None:
        """Call `wake`, from the signal handler, when a stop is asked for: it must be safe there."""
        self._wake.append(wake)

    def wait(self, timeout_s: float) -> bool:
        """Wait for a stop to be asked for; True when it was."""
        return self.stop_event.wait(timeout_s)

    def heartbeat(self, status: ChildStatus | None = None) -> None:
        """Prove progress from the work loop; None: there is no news. At most one message a second goes out, and one at every change
        of the status' outline."""
        now = time.monotonic()
        outline = self._sent_outline if status is None else status.outline
        if self._channel is None or (now - self._sent_at < _HEARTBEAT_S and outline == self._sent_outline):
            return
        self._sent_at, self._sent_outline = now, outline
        said = {} if status is None else status.to_json()
        line = json.dumps(said, separators=(",", ":")).encode() + b"\n"
        with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
            # A full channel loses a heartbeat, never blocks the work; the flag, since _watch_parent's copy makes the socket block.
            self._channel.send(line, socket.MSG_DONTWAIT)

    def progress(self, *_: object) -> None:
        """A heartbeat from inside long work, which a stop ends there. Raises StopAsked."""
        self.heartbeat()
        if self.stopping:
            raise StopAsked

    def _on_stop(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  # the handler's signature
        self.stop_event.set()
        for wake in self._wake:
            wake()

    def _watch_parent(self) -> None:
        """Where there is no death signal (macOS), the channel's end tells that the supervisor is gone."""
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


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when `parent`, which started it, dies; at once when that has happened already."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(EXIT_TEMPORARY)


def settings_of(arguments: Any) -> Settings:
    """The settings a child runs with: from the supervisor on standard input, or, by hand, from the file."""
    if arguments.settings_stdin:
        return Settings.from_json(json.loads(sys.stdin.readline()))
    return load_settings(find_config(arguments.config))


def _traceback() -> str:
    """Its lines hold our code; its last one may hold anything."""
    lines = hide_addresses(traceback.format_exc()).splitlines()
    return "".join(f"{for_log(line)}\n" for line in lines)


def run_child(main: Callable[[], int]) -> int:
    """A process's outermost loop: every way to end becomes an exit code, every fault a line for the person who can mend it."""
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
    except ImportError as error:  # one that a module imports only when it is needed
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
