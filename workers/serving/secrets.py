"""The secrets by which somebody is let in: tokens, sessions and links are random; passwords are people's own.

A secret is shown once, as `rc_<id>_<secret>`. The site keeps its hash only (shared/store/accesses.py).
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from typing import NamedTuple

MIN_PASSWORD_CHARACTERS = 12
_MAX_PASSWORD_BYTES = 1024
_SECRET_BYTES = 32
_ID_BYTES = 8
_SHOWN = re.compile(r"rc_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")
# scrypt: 16 MiB and some 50 ms for each try. n, r, p as its paper has them for logins.
_N, _R, _P, _MAX_MEMORY = 1 << 14, 8, 1, 64 << 20


class NewSecret(NamedTuple):
    """`shown`: what its owner gets, once. `id`, `hash`: what the site keeps."""

    id: str
    shown: str
    hash: str


class Shown(NamedTuple):
    """A secret that somebody showed: the id of the access, and the hash of the secret."""

    id: str
    hash: str


def new_secret() -> NewSecret:
    """A random secret of 256 bits, with an id."""
    access_id, secret = secrets.token_hex(_ID_BYTES), secrets.token_urlsafe(_SECRET_BYTES)
    return NewSecret(access_id, f"rc_{access_id}_{secret}", _hash(secret))


def read_secret(text: str) -> Shown | None:
    """What `text` shows; None if it is no secret of ours."""
    found = _SHOWN.fullmatch(text)
    return None if found is None else Shown(found[1], _hash(found[2]))


def _hash(secret: str) -> str:
    return "sha256:" + hashlib.sha256(secret.encode()).hexdigest()


def is_same(known: str | None, shown: str) -> bool:
    """Whether two hashes are the same, in a time that does not depend on where they differ."""
    return hmac.compare_digest((known or "").encode(), shown.encode())


def why_no_password(password: str) -> str | None:
    """Why this can't be a password; None if it can."""
    if len(password) < MIN_PASSWORD_CHARACTERS:
        return f"at least {MIN_PASSWORD_CHARACTERS} characters"
    return None if len(password.encode()) <= _MAX_PASSWORD_BYTES else f"at most {_MAX_PASSWORD_BYTES} bytes"


def hash_password(password: str, salt: bytes | None = None) -> str:
    """The hash of a password, with its salt. Takes some 50 ms."""
    salt = secrets.token_bytes(16) if salt is None else salt
    # Whoever guesses sends what they like: a long password must not take longer.
    given = password.encode()[:_MAX_PASSWORD_BYTES]
    found = hashlib.scrypt(given, salt=salt, n=_N, r=_R, p=_P, maxmem=_MAX_MEMORY, dklen=32)
    return f"scrypt:{salt.hex()}:{found.hex()}"


def fits_password(known: str | None, password: str) -> bool:
    """Whether `password` is the one whose hash is known. Without a hash it takes as long, and the answer is no."""
    parts = (known or "").split(":")
    salt = bytes.fromhex(parts[1]) if len(parts) == 3 and parts[0] == "scrypt" else bytes(16)
    return is_same(known, hash_password(password, salt))
