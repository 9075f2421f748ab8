"""Messages of a service to systemd: sd_notify(3) over the datagram socket that systemd names, and the watchdog's deadline.

Without systemd ($NOTIFY_SOCKET unset) the functions here do nothing, and return False or None.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping


def notify(*assignments: str, environ: Mapping[str, str] | None = None) -> bool:
    """Send `READY=1`, `STATUS=…`, `WATCHDOG=1`, `STOPPING=1` … in one datagram. Returns whether systemd has it.

    Never raises and never blocks: a site must not stop or wait because systemd is busy. The next call sends the message again.
    The protocol, sd_notify(3): assignments, separated by newlines (so no value may contain one), to $NOTIFY_SOCKET. A leading `@` means
    an abstract socket.
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
    """The interval for `WATCHDOG=1`, in seconds: half of systemd's deadline, as sd_watchdog_enabled(3) advises.

    None: there is no watchdog, or it watches another process ($WATCHDOG_PID).
    """
    values = os.environ if environ is None else environ
    deadline_us, watched = values.get("WATCHDOG_USEC", ""), values.get("WATCHDOG_PID", "")
    if not deadline_us.isdecimal() or int(deadline_us) == 0:
        return None
    if watched and watched != str(os.getpid() if pid is None else pid):
        return None
    return int(deadline_us) / 2_000_000
