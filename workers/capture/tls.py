"""A camera proves its identity over TLS, before a password is sent."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from pathlib import Path
from typing import cast

from shared.settings.sources import Address, Source


def ca_bundle(source: Source) -> str:
    """The file of certificates that a camera is verified with."""
    if source.reached.ca_file is not None:
        return str(source.reached.ca_file)
    paths = ssl.get_default_verify_paths()
    for path in (paths.cafile, paths.openssl_cafile, "/etc/ssl/certs/ca-certificates.crt"):
        if path and Path(path).is_file():
            return path
    import certifi  # only where the system has no bundle

    return certifi.where()


def secure(plain: socket.socket, address: Address, source: Source) -> ssl.SSLSocket:
    """The connection over TLS, once the host has proved its identity as `source` wants it. Raises OSError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if source.reached.tls == "insecure":
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_ciphers("DEFAULT:@SECLEVEL=0")  # old cameras know only old ciphers, and nothing is verified anyway
        return context.wrap_socket(plain, server_hostname=address.host)
    try:
        context.load_verify_locations(ca_bundle(source))
    except (OSError, ssl.SSLError) as error:
        why = error.strerror if not isinstance(error, ssl.SSLError) and error.strerror else "holds no certificate"
        raise _untrusted(f"ca_file: {why.lower()}") from None
    if not _is_number(address.host):
        return context.wrap_socket(plain, server_hostname=address.host)
    # No public authority vouches for an IP address of a site's own network. So we require a ca_file of the site's own. The
    # certificate must name this IP address, or be one that is in ca_file itself.
    if source.reached.ca_file is None:
        raise _untrusted("an address of numbers can only be verified by the camera's own certificate")
    context.check_hostname = False
    secure = context.wrap_socket(plain, server_hostname=address.host)
    names = cast("tuple[tuple[str, str], ...]", (secure.getpeercert() or {}).get("subjectAltName", ()))
    if not any(kind == "IP Address" and _same_number(name, address.host) for kind, name in names):
        own = context.get_ca_certs(binary_form=True)
        if secure.getpeercert(binary_form=True) not in own:
            secure.close()
            raise _untrusted(f"it is not for {address.host}")
    return secure


def tls_name(connection: socket.socket, address: Address) -> str | None:
    """A name in the certificate of a camera that `secure` has let pass though its certificate does not name the host."""
    certificate = connection.getpeercert() if isinstance(connection, ssl.SSLSocket) else None
    if not certificate or not _is_number(address.host):
        return None
    names = cast("tuple[tuple[str, str], ...]", certificate.get("subjectAltName", ()))
    if any(kind == "IP Address" and _same_number(name, address.host) for kind, name in names):
        return None
    subject = cast("tuple[tuple[tuple[str, str], ...], ...]", certificate.get("subject", ()))
    common = [value for part in subject for key, value in part if key == "commonName"]
    return next((name for kind, name in names if kind == "DNS"), next(iter(common), None))


def _untrusted(why: str) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, why)
    error.verify_message = why
    return error


def _is_number(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _same_number(name: str, host: str) -> bool:
    return _is_number(name) and ipaddress.ip_address(name) == ipaddress.ip_address(host)


def distrust_of(error: Exception) -> str | None:
    """Why the camera can't be trusted, if that is the error."""
    if not isinstance(error, ssl.SSLCertVerificationError):
        return None
    return (
        f"its certificate can't be trusted ({error.verify_message}); no password was sent; name the right one in ca_file, "
        'or set tls = "insecure", with which anybody could answer in the camera\'s place'
    )


def handshake_fault(error: Exception) -> str | None:
    """Why there is no connection over TLS, if that is the error."""
    return (error.reason or "no handshake") if isinstance(error, ssl.SSLError) else None
