"""Tokens: one or more for each site. The database has their hashes only."""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from datetime import UTC, datetime
from typing import NamedTuple

from shared.errors import UsageError
from workers.hub.database import Collection, deadline
from workers.serving.secrets import is_same, new_secret, read_secret

LOCAL_SITE = "local"  # who asks without a token, on a machine whose hub has none
_SITE = re.compile(r"[^\x00-\x1f\x7f]{1,100}")
FRESH_S = 5.0  # how long a revoked token may still be let in
_MAX_KEPT = 4096


class Token(NamedTuple):
    """A token as it may be shown."""

    id: str
    site: str
    created_at: str


def site_name(text: str) -> str:
    """The name of a site. Raises UsageError."""
    if not _SITE.fullmatch(text) or text != text.strip() or text == LOCAL_SITE:
        raise UsageError(
            "not the name of a site",
            got=ascii(text[:120]),
            expected=f"1 to 100 printable characters, and not {LOCAL_SITE!r}",
        )
    return text


async def create(tokens: Collection, site: str) -> tuple[Token, str]:
    """Make a token for a site. Returns it, and the secret to show once."""
    secret = new_secret()
    made = Token(secret.id, site, datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"))
    async with deadline():
        await tokens.insert_one({"_id": made.id, "site": site, "hash": secret.hash, "created_at": made.created_at})
    return made, secret.shown


async def listed(tokens: Collection) -> list[Token]:
    """All tokens, by site."""
    async with deadline():
        found = await tokens.find({}, {"hash": False}).to_list()
    return sorted(
        (Token(one["_id"], one["site"], one["created_at"]) for one in found), key=lambda one: (one.site, one.created_at)
    )


async def revoke(tokens: Collection, site: str, token_id: str | None) -> int:
    """Take back a site's tokens, or only one of them. Returns how many."""
    query = {"site": site} if token_id is None else {"site": site, "_id": token_id}
    async with deadline():
        return (await tokens.delete_many(query)).deleted_count


class Doorkeeper:
    """Knows which site a token belongs to. What it read counts for five seconds."""

    def __init__(self, tokens: Collection) -> None:
        self._tokens = tokens
        self._known: OrderedDict[str, tuple[float, dict[str, str] | None]] = OrderedDict()
        self._any: tuple[float, bool] = (-FRESH_S, True)

    async def has_tokens(self) -> bool:
        """Whether the hub has any token. Then everybody needs one."""
        now = time.monotonic()
        if now - self._any[0] >= FRESH_S:
            async with deadline():
                self._any = now, await self._tokens.find_one({}, {"_id": True}) is not None
        return self._any[1]

    def knows(self, shown: str) -> bool:
        """Whether this may be a token that was let in before. Costs nothing, and says nothing of whether it is let in now."""
        given = read_secret(shown)
        return given is not None and self._known.get(given.id, (0.0, None))[1] is not None

    async def site_of(self, shown: str) -> str | None:
        """The site of a token that somebody showed; None if it is none of ours, or was taken back."""
        given = read_secret(shown)
        if given is None:
            return None
        now = time.monotonic()
        read_at, known = self._known.get(given.id, (-FRESH_S, None))
        if now - read_at >= FRESH_S:
            async with deadline():
                known = await self._tokens.find_one({"_id": given.id})
            self._known[given.id] = now, known
            self._known.move_to_end(given.id)
            while len(self._known) > _MAX_KEPT:
                self._known.popitem(last=False)
        # Compared also where there is no such token, so that the time tells nothing.
        fits = is_same(None if known is None else known["hash"], given.hash)
        return known["site"] if known is not None and fits else None
