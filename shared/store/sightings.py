"""The table of sightings. Each event is kept once. Its id never changes, ids only rise, and the settings limit how long it is kept."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from shared.events import Elsewhere, Event, Sighting, stranger_id
from shared.store.schema import ids_begin_after

_MAX_UNREADABLE = 1000
_MAX_LOOKED_AT = 20_000
_AHEAD = timedelta(days=1)  # clocks of cameras and files may be ahead of ours by up to this


class Span(NamedTuple):
    """From `since` to before `until` (ISO 8601, UTC); None: without end."""

    since: str | None = None
    until: str | None = None


_ALWAYS = Span()


class Sightings:
    """The sightings of one store. Call what changes rows inside the store's transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.unreadable: set[int] = set()  # ids of rows that could not be read, up to _MAX_UNREADABLE

    def record(
        self,
        events: Iterable[Event],
        site: str,
        stranger_of: Callable[[Event], int | None] = lambda _: None,
        elsewhere: Callable[[Event], list[Elsewhere]] = lambda _: [],
    ) -> list[Sighting]:
        """Keep events as sightings. Returns the new ones. An event whose key is kept already is skipped.

        A person who was deleted meanwhile is not stored again: the sighting is kept without the person. `stranger_of` gives the number of
        the stranger, stored as `unknown`; `elsewhere` gives where else the person is, stored as `also_at`.
        """
        kept = []
        for event in events:
            if self._is_kept(event.key):
                continue
            known = self._with_current_person(event)
            if known is None:
                continue
            kept.append(self._keep(known, site, stranger_of(known), elsewhere(known) or None))
        return kept

    def _with_current_person(self, event: Event) -> Event | None:
        """The event with the name that its person has now: a camera may not know a new one yet. Without the person, if they were
        deleted meanwhile. None if it has no meaning without the person."""
        if event.person is None or self._is_enrolled(event.person):
            return event
        if (name := self._current_name(event.person)) is not None:
            return replace(event, person=name)
        if event.event in ("named", "withdrawn"):
            return None
        verdict = "unknown" if event.verdict == "named" else event.verdict
        return replace(event, person=None, user_id=None, score=None, margin=None, confidence=None, verdict=verdict)

    def _keep(self, event: Event, site: str, stranger: int | None, also_at: list[Elsewhere] | None) -> Sighting:
        given = {field.name: getattr(event, field.name) for field in fields(Event)}
        unknown = None if stranger is None else stranger_id(stranger)
        return self._store(Sighting(**given, id=0, site=site, unknown=unknown, also_at=also_at), stranger)

    def _store(self, sighting: Sighting, stranger: int | None) -> Sighting:
        cursor = self._connection.execute(
            "INSERT INTO sightings(key, event, time, camera, person, document, stranger, recorded_at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                sighting.key,
                sighting.event,
                sighting.time,
                sighting.camera,
                sighting.person,
                json.dumps(sighting.to_stored()),
                stranger,
                f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}",
            ),
        )
        return replace(sighting, id=int(cursor.lastrowid or 0))

    def _is_kept(self, key: str) -> bool:
        return self._connection.execute("SELECT 1 FROM sightings WHERE key=?", (key,)).fetchone() is not None

    def current_person(self, name: str) -> str | None:
        """What the person who has or had this name is called now. None if they are not enrolled any more."""
        return name if self._is_enrolled(name) else self._current_name(name)

    def add(self, sighting: Sighting) -> Sighting:
        """Store a sighting that the writer itself makes. Returns it with its id."""
        return self._store(sighting, None)

    def find(self, sighting_id: int) -> Sighting | None:
        """One kept sighting. None if it is not kept, or can't be read."""
        found = self.since(after_id=sighting_id - 1, limit=1)
        return found[0] if found and found[0].id == sighting_id else None

    def _is_enrolled(self, person: str) -> bool:
        row = self._connection.execute("SELECT 1 FROM embeddings WHERE person_name=? LIMIT 1", (person,)).fetchone()
        return row is not None

    def _current_name(self, former: str) -> str | None:
        """What the person who had this name is called now. None if nobody had it, or several people had."""
        names = self._connection.execute(
            "SELECT DISTINCT name FROM people, json_each(former_names) WHERE json_each.value=? LIMIT 2", (former,)
        ).fetchall()
        return str(names[0][0]) if len(names) == 1 else None

    def since(self, after_id: int = 0, since: str | None = None, limit: int = 1000) -> list[Sighting]:
        """At most `limit` kept sightings with id > `after_id` and time >= `since` (ISO 8601, UTC), oldest first.

        A row that can't be read is skipped, and its id is added to `unreadable`: one bad row must not hide all others.
        """
        if since is not None:
            # Find where to begin with the index by time, or every older sighting would be read. `+id` keeps SQLite from using the order
            # of the ids instead.
            first = self._connection.execute("SELECT MIN(+id) FROM sightings WHERE time>=?", (since,)).fetchone()[0]
            if first is None:
                return []
            after_id = max(after_id, first - 1)
        found: list[Sighting] = []
        while (wanted := limit - len(found)) > 0:
            rows = self._connection.execute(
                "SELECT id, CAST(document AS BLOB) FROM sightings WHERE id>? AND (? IS NULL OR time>=?) ORDER BY id LIMIT ?",
                (after_id, since, since, wanted),
            ).fetchall()
            for row_id, document in rows:
                sighting = Sighting.from_stored(row_id, document)
                if sighting is not None:
                    found.append(sighting)
                elif len(self.unreadable) < _MAX_UNREADABLE:
                    self.unreadable.add(row_id)
            if len(rows) < wanted:
                break
            after_id = rows[-1][0]
        return found

    def keys(self, after_id: int, through: int) -> dict[int, str]:
        """The keys of the kept sightings with these ids. A sighting's document does not have its key."""
        rows = self._connection.execute("SELECT id, key FROM sightings WHERE id>? AND id<=?", (after_id, through))
        return dict(rows.fetchall())

    def found(
        self,
        before_id: int | None,
        after_id: int,
        person: str | None,
        cameras: list[str] | None,
        kinds: list[str] | None,
        limit: int,
        span: Span = _ALWAYS,
        stranger: int | None = None,
    ) -> tuple[list[Sighting], int | None]:
        """At most `limit` kept sightings with `after_id` < id < `before_id`, newest first, of one person or stranger, some cameras or some kinds,
        of the times of `span`; and the `before_id` of the next page, None after the last.

        Looks at no more than _MAX_LOOKED_AT ids, so that a filter which few rows pass does not hold up the writer. The page is shorter then.
        """
        begin = self.last_id() + 1 if before_id is None else before_id
        begin, after_id = self._within(begin, after_id, span)
        least = max(after_id + 1, begin - _MAX_LOOKED_AT if person is None and stranger is None else after_id + 1)
        chosen = [json.dumps(one) if one is not None else None for one in (cameras, kinds)]
        rows = self._connection.execute(
            "SELECT id, CAST(document AS BLOB) FROM sightings WHERE id<?1 AND id>=?2 AND (?3 IS NULL OR person=?3) "
            "AND (?4 IS NULL OR camera IN (SELECT value FROM json_each(?4))) "
            "AND (?5 IS NULL OR event IN (SELECT value FROM json_each(?5))) "
            "AND (?7 IS NULL OR time>=?7) AND (?8 IS NULL OR time<?8) AND (?9 IS NULL OR stranger=?9) ORDER BY id DESC LIMIT ?6",
            (begin, least, person, *chosen, limit, span.since, span.until, stranger),
        ).fetchall()
        sightings = [Sighting.from_stored(row_id, document) for row_id, document in rows]
        following = rows[-1][0] if rows and len(rows) == limit else least
        is_over = following <= max(after_id + 1, self.first_id())
        return [one for one in sightings if one is not None], None if is_over else following

    def _within(self, begin: int, after_id: int, span: Span) -> tuple[int, int]:
        """`begin` and `after_id`, nearer to each other where no sighting of this time lies beyond: found with the index by time, and not by
        looking at every row. `+id`: as in `since`."""
        execute = self._connection.execute
        if span.until is not None:
            last = execute("SELECT MAX(+id) FROM sightings WHERE time<?", (span.until,)).fetchone()[0]
            begin = min(begin, 0 if last is None else int(last) + 1)
        if span.since is not None:
            first = execute("SELECT MIN(+id) FROM sightings WHERE time>=?", (span.since,)).fetchone()[0]
            after_id = max(after_id, begin if first is None else int(first) - 1)
        return begin, after_id

    def last_id(self) -> int:
        """The highest id ever given out, even if that sighting was deleted."""
        row = self._connection.execute("SELECT seq FROM sqlite_sequence WHERE name='sightings'").fetchone()
        return 0 if row is None else int(row[0])

    def ids_begin_after(self, last_id: int) -> None:
        """Give out only ids above `last_id` from now on."""
        ids_begin_after(self._connection, "sightings", last_id)

    def purge(self, keep_days: int, now: datetime | None = None) -> int:
        """Delete sightings older than `keep_days`. Returns how many.

        A sighting's age counts from its time. If that lies in the future, it counts from when the row was written. If our own clock was
        ahead when the row was written, it counts from now.
        """
        now = now or datetime.now(UTC)
        limit, ahead, today = (
            f"{time:%Y-%m-%dT%H:%M:%S.%fZ}" for time in (now - timedelta(days=keep_days), now + _AHEAD, now)
        )
        deleted = self._connection.execute("DELETE FROM sightings WHERE time<?", (limit,)).rowcount
        deleted += self._connection.execute(
            "DELETE FROM sightings WHERE time>? AND recorded_at<?", (ahead, limit)
        ).rowcount
        self._connection.execute(
            "UPDATE sightings SET recorded_at=?1 WHERE time>?2 AND (recorded_at IS NULL OR recorded_at>?2)",
            (today, ahead),
        )
        return int(deleted)

    def first_id(self) -> int:
        """The id of the oldest kept sighting; 0 if none is kept."""
        return int(self._connection.execute("SELECT COALESCE(MIN(id), 0) FROM sightings").fetchone()[0])

    def last_recorded(self) -> datetime | None:
        """When the newest sighting was written, by the clock of that time. None if this is not known."""
        row = self._connection.execute("SELECT recorded_at FROM sightings ORDER BY id DESC LIMIT 1").fetchone()
        return None if row is None or row[0] is None else datetime.fromisoformat(row[0])

    def people(self) -> list[str]:
        """Everybody who was seen."""
        rows = self._connection.execute("SELECT DISTINCT person FROM sightings WHERE person IS NOT NULL")
        return [person for (person,) in rows.fetchall()]

    def forget(self, person: str) -> int:
        """Delete all sightings of a person. Returns how many."""
        return self._connection.execute("DELETE FROM sightings WHERE person=?", (person,)).rowcount

    def give_to(self, stranger: int, person: str) -> int:
        """Give all sightings of a stranger to `person`, so that they are forgotten with that person. Returns how many."""
        return self._connection.execute(
            "UPDATE sightings SET person=COALESCE(person, ?), stranger=NULL WHERE stranger=?", (person, stranger)
        ).rowcount

    def forget_stranger(self, stranger: int) -> int:
        """Delete all sightings of a stranger. Returns how many."""
        return self._connection.execute("DELETE FROM sightings WHERE stranger=?", (stranger,)).rowcount
