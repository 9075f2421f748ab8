"""The socket that a server listens on."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from pathlib import Path

from shared.errors import ConfigurationError, TemporaryError

_BACKLOG = 128


def listen(host: str, port: int) -> socket.socket:
    """A TCP socket that listens on an address or name of this machine.

    Raises TemporaryError if the port is taken, ConfigurationError if this machine has no such address or the port may not be used.
    """
    where = f"{host}:{port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise _no_address(where, error.strerror) from error
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise TemporaryError(
                "another program listens there already", where=where, remedy="stop it, or set another port"
            ) from error
        raise _no_address(where, error.strerror) from error
    return listener


def _no_address(where: str, got: str | None) -> ConfigurationError:
    return ConfigurationError(
        "can't listen there", where=where, got=got, expected="an address of this machine, and a port above 1023"
    )


def listen_on_path(path: Path) -> socket.socket:
    """A Unix socket, mode 0600, that listens on `path`. One that an ended process left behind is replaced.

    Raises ConfigurationError if something else is there, or if no socket can be made there; TemporaryError if a process listens on it.
    """
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ConfigurationError("is no socket", where=str(path), remedy="set another path in host")
    except FileNotFoundError:
        pass
    else:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(str(path))
            except (ConnectionRefusedError, FileNotFoundError):
                path.unlink(missing_ok=True)
            else:
                raise TemporaryError("another program listens there already", where=str(path), remedy="stop it")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigurationError("can't listen there", where=str(path), got=error.strerror or str(error)) from error
    finally:
        os.umask(before)
    return listener


def unlink_path(path: Path) -> None:
    """Remove the socket at the end."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
