"""A certificate that the machine signs itself, for sites that have no other."""

from __future__ import annotations

import os
import socket
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from shared.files.private_folder import make_private_folder
from shared.settings.schema import LOOPBACK

_AHEAD = timedelta(days=1)  # a browser's clock may be behind
_NOWHERE = ("0.0.0.0", "::")  # noqa: S104  # all addresses: no name of anything


class MadeCertificate(NamedTuple):
    """`fingerprint`: SHA-256, in pairs of hex digits with colons, as browsers show it."""

    certificate: Path
    key: Path
    fingerprint: str


def make_certificate(folder: Path, names: list[str], days: int) -> MadeCertificate:
    """Make certificate.pem and key.pem (mode 0600) in `folder`, for these names, localhost and this machine's own. Raises OSError."""
    make_private_folder(folder)
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    all_names = [one for one in dict.fromkeys([*names, socket.gethostname(), *LOOPBACK]) if one not in _NOWHERE]
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, all_names[0][:64])])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _AHEAD)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([_general_name(one) for one in all_names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    made = folder / "certificate.pem", folder / "key.pem"
    for path, content in zip(made, (certificate.public_bytes(serialization.Encoding.PEM), private), strict=True):
        _write(path, content)
    return MadeCertificate(*made, certificate.fingerprint(hashes.SHA256()).hex(":").upper())


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name.strip("[]")))
    except ValueError:
        return x509.DNSName(name)


def _write(path: Path, content: bytes) -> None:
    """Replace a file in one step, mode 0600."""
    half = path.with_name(path.name + ".new")
    half.unlink(missing_ok=True)
    descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    half.replace(path)
