"""How a camera asks for a login, and what it is answered: basic, or digest."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets

from shared.settings.sources import Address


class Login:
    """Answers a server's login challenges for one user: basic, or digest (RFC 7616; MD5 and SHA-256)."""

    def __init__(self, address: Address) -> None:
        self._user, self._password = address.user or "", address.password or ""
        self._challenge: dict[str, str] | None = None
        self._count = 0

    def take(self, challenges: list[str]) -> bool:
        """Remember the best of a server's challenges (WWW-Authenticate values). False when we can answer none of them."""
        known = [challenge_of(text) for text in challenges]
        digests = [one for one in known if one["scheme"] == "digest" and _hash_of(one) is not None]
        basics = [one for one in known if one["scheme"] == "basic"]
        self._challenge, self._count = next(iter(digests + basics), None), 0
        return self._challenge is not None

    def header(self, method: str, uri: str) -> str | None:
        """The value of the header Authorization for this request; None before a challenge was taken."""
        challenge = self._challenge
        if challenge is None:
            return None
        if challenge["scheme"] == "basic":
            return "Basic " + base64.b64encode(f"{self._user}:{self._password}".encode(errors="replace")).decode()
        self._count += 1
        realm, nonce = challenge.get("realm", ""), challenge.get("nonce", "")
        secret = _digest(challenge, f"{self._user}:{realm}:{self._password}")
        asked = _digest(challenge, f"{method}:{uri}")
        parts = {"username": self._user, "realm": realm, "nonce": nonce, "uri": uri}
        plain = {}
        middle = ""
        if "auth" in re.split(r"[,\s]+", challenge.get("qop", "")):
            plain = {"qop": "auth", "nc": f"{self._count:08x}"}
            parts["cnonce"] = secrets.token_hex(8)
            middle = f"{plain['nc']}:{parts['cnonce']}:auth:"
        parts["response"] = _digest(challenge, f"{secret}:{nonce}:{middle}{asked}")
        if "opaque" in challenge:
            parts["opaque"] = challenge["opaque"]
        if "algorithm" in challenge:
            plain["algorithm"] = challenge["algorithm"]
        quoted = [f'{name}="{_escaped(value)}"' for name, value in parts.items()]
        return "Digest " + ", ".join([*quoted, *(f"{name}={value}" for name, value in plain.items())])


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def challenge_of(text: str) -> dict[str, str]:
    """The parts of a challenge by their names in lower case, and its `scheme`."""
    scheme, _, rest = text.strip().partition(" ")
    found = re.findall(r'(\w+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))', rest)
    return {"scheme": scheme.lower(), **{name.lower(): quoted or plain for name, quoted, plain in found}}


def _hash_of(challenge: dict[str, str]) -> str | None:
    return {"": "md5", "MD5": "md5", "SHA-256": "sha256"}.get(challenge.get("algorithm", "").upper())


def _digest(challenge: dict[str, str], text: str) -> str:
    # The camera chooses the algorithm, and most cameras know only MD5.
    return hashlib.new(_hash_of(challenge) or "md5", text.encode(errors="replace"), usedforsecurity=False).hexdigest()
