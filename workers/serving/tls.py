"""TLS with a certificate from files. A renewed certificate is used without a restart."""

from __future__ import annotations

import logging
import os
import ssl
from pathlib import Path

from shared.errors import ConfigurationError

_log = logging.getLogger("tls")


class Tls:
    """TLS 1.2 and later. `context`: for the server; what `renew` reads is for connections that begin later."""

    def __init__(self, certificate: Path, key: Path) -> None:
        """Raises ConfigurationError if the two can't be read or do not fit."""
        self._certificate, self._key = certificate, key
        self._stamp = self._stamp_now()
        self.context = _context(certificate, key)

    def renew(self) -> None:
        """Read the files again if they have changed. The old certificate stays while the new files do not fit."""
        stamp = self._stamp_now()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            _context(self._certificate, self._key)  # one that does not fit would spoil the context in use
            self.context.load_cert_chain(self._certificate, self._key)
        except (ConfigurationError, ssl.SSLError, OSError) as error:
            said = error.line() if isinstance(error, ConfigurationError) else str(error)
            _log.warning("the new certificate is not used: %s", said)
        else:
            _log.info("%s: the new certificate is in use", self._certificate)

    def _stamp_now(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(_stamp(path) for path in (self._certificate, self._key))


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes when a file is replaced or written; None if it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _context(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    for path in (certificate, key):
        if not os.access(path, os.R_OK):
            raise ConfigurationError(
                "can't be read", where=str(path), expected="a PEM file that the site's user may read"
            )
    try:
        context.load_cert_chain(certificate, key)
    except (ssl.SSLError, OSError) as error:
        raise ConfigurationError(
            "the certificate and its key do not fit, or are no PEM files",
            where=str(certificate),
            got=getattr(error, "reason", None) or type(error).__name__,
            remedy="make a new pair: python supervisor.py web certificate",
        ) from error
    return context
