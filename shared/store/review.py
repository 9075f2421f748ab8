"""What a person decided while going through strangers and people: two that are not the same, and strangers that are of no interest.

Such a pair is not proposed as one person again, and such a stranger does not come up again. Both refer to people by their UUID and to
strangers by their number, with foreign keys: whoever is forgotten, merged or removed takes these rows along. They are this site's own, and in
no copy of the database.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from shared.errors import RefusedError
from shared.store.store import Store

MAX_DIFFERENT = 100_000  # some ten megabytes


class Pair(NamedTuple):
    """Two who are not one person: a person's UUID, and a stranger's number or another person's UUID."""

    person: str
    stranger: int | None = None
    other: str | None = None

    @property
    def ordered(self) -> Pair:
        """The same pair, whichever of two people comes first."""
        if self.other is not None and self.other < self.person:
            return Pair(self.other, None, self.person)
        return self


def note_different(store: Store, pair: Pair) -> bool:
    """Remember that these two are not one person. Returns whether that is new. Raises RefusedError if too many are remembered."""
    one = pair.ordered
    if is_different(store, one):
        return False
    (count,) = store.connection.execute("SELECT COUNT(*) FROM different_people").fetchone()
    if count >= MAX_DIFFERENT:
        raise RefusedError(
            "too many pairs are remembered as different", got=count, expected=f"fewer than {MAX_DIFFERENT}"
        )
    store.connection.execute(
        "INSERT INTO different_people(person, other, stranger, made_at) VALUES (?, ?, ?, ?)",
        (one.person, one.other, one.stranger, _now()),
    )
    return True


def drop_different(store: Store, pair: Pair) -> bool:
    """Take that back. Returns whether it was remembered."""
    one = pair.ordered
    found = store.connection.execute(
        "DELETE FROM different_people WHERE person=? AND other IS ? AND stranger IS ?",
        (one.person, one.other, one.stranger),
    )
    return found.rowcount > 0


def is_different(store: Store, pair: Pair) -> bool:
    """Whether these two are remembered as different."""
    one = pair.ordered
    row = store.connection.execute(
        "SELECT 1 FROM different_people WHERE person=? AND other IS ? AND stranger IS ?",
        (one.person, one.other, one.stranger),
    ).fetchone()
    return row is not None


def different_among(store: Store, people: Sequence[str]) -> list[tuple[str, str]]:
    """The pairs of these people, given and returned as UUIDs, that are remembered as different."""
    rows = store.connection.execute(
        "SELECT person, other FROM different_people WHERE person IN (SELECT value FROM json_each(?1)) "
        "AND other IN (SELECT value FROM json_each(?1))",
        (json.dumps(people),),
    )
    return rows.fetchall()


def different_people(store: Store, after: int, limit: int) -> list[tuple[int, str, str]]:
    """Pairs of people who are remembered as different, oldest first: number, and both names. At most `limit`, with a number > `after`."""
    rows = store.connection.execute(
        "SELECT d.id, one.name, two.name FROM different_people d JOIN people one ON one.uuid=d.person "
        "JOIN people two ON two.uuid=d.other WHERE d.id>? ORDER BY d.id LIMIT ?",
        (after, limit),
    )
    return rows.fetchall()


def not_the_strangers(store: Store, stranger: int) -> set[str]:
    """The names of the people whom this stranger is not."""
    rows = store.connection.execute(
        "SELECT name FROM people JOIN different_people ON person=uuid WHERE stranger=?", (stranger,)
    )
    return {name for (name,) in rows.fetchall()}


def ignore(store: Store, stranger: int) -> bool:
    """Let a stranger not come up any more. Returns whether that is new."""
    found = store.connection.execute("INSERT OR IGNORE INTO ignored_strangers VALUES (?, ?)", (stranger, _now()))
    return found.rowcount > 0


def heed(store: Store, stranger: int) -> bool:
    """Take that back. Returns whether the stranger was ignored."""
    return store.connection.execute("DELETE FROM ignored_strangers WHERE stranger=?", (stranger,)).rowcount > 0


def newest_heeded(store: Store, limit: int) -> list[int]:
    """The numbers of the strangers who are not ignored, the one seen last first."""
    rows = store.connection.execute(
        "SELECT id FROM strangers WHERE id NOT IN (SELECT stranger FROM ignored_strangers) ORDER BY last_seen DESC, id DESC LIMIT ?",
        (limit,),
    )
    return [number for (number,) in rows.fetchall()]


def newest_doubtful(store: Store, among: int, limit: int) -> list[tuple[int, str]]:
    """The uncertain sightings that nobody has judged and whose face is still kept, newest first: the id, and whom the face resembles most.

    `among`: how many of the newest kept faces are looked through.
    """
    rows = store.connection.execute(
        "SELECT s.id, p.person FROM (SELECT sighting, person FROM sighting_probes ORDER BY sighting DESC LIMIT ?) p "
        "JOIN sightings s ON s.id=p.sighting WHERE s.event='left' AND json_extract(s.document, '$.verdict')='uncertain' "
        "AND NOT EXISTS (SELECT 1 FROM corrections c WHERE c.sighting=s.id) ORDER BY s.id DESC LIMIT ?",
        (among, limit),
    )
    return rows.fetchall()


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
