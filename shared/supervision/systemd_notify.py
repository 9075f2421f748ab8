"""What a service tells systemd: sd_notify(3) over the datagram socket that systemd names, and the watchdog's deadline.

Outside systemd ($NOTIFY_SOCKET unset) everything here does nothing and says so by its result.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping


def notify(*assignments: str, environ: Mapping[str, str] | None = None) -> bool:
    """Send `READY=1`, `STATUS=…`, `WATCHDOG=1`, `STOPPING=1` … in one datagram; True when systemd has it.

    Never raises and never blocks: a site does not stop or wait because its manager is busy; the next call
    says it again.
    The protocol, sd_notify(3): newline-separated assignments (so a value holds no newline) to $NOTIFY_SOCKET, where a
    leading `@` means an abstract socket.
    """
    address = (os.environ if environ is None else environ).get("NOTIFY_SOCKET", "")
    if not assignments or not address.startswith(("/", "@")):
        return False
    message = "\n".join(assignments).encode()
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.setblocking(False)
            return channel.sendto(message, "\0" + address[1:] if address[0] == "@" else address) == len(message)
    except OSError:
        return False


def watchdog_interval_s(environ: Mapping[str, str] | None = None, pid: int | None = None) -> float | None:
    """How often to send `WATCHDOG=1`, in seconds: half of systemd's deadline, as sd_watchdog_enabled(3) advises.

    None: no watchdog, or one that watches another process ($WATCHDOG_PID).
    """
    values = os.environ if environ is None else environ
    deadline_us, watched = values.get("WATCHDOG_USEC", ""), values.get("WATCHDOG_PID", "")
    if not deadline_us.isdecimal() or int(deadline_us) == 0:
        return None
    if watched and watched != str(os.getpid() if pid is None else pid):
        return None
    return int(deadline_us) / 2_000_000
