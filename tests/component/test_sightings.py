"""Sightings: each is kept once, of people who are enrolled, for as long as the settings say."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from shared.events import Event
from shared.records import NewReference
from shared.store.sightings import Span
from tests.support.stores import (
    event,
    keep,
    record,
    rows,
    sightings,
    store_in,
    vectors,
)


def test_a_sighting_is_kept_once(tmp_path: Path) -> None:
    """The same key, in one batch or in another, is one sighting; ids rise; `id` and `site` are added."""
    with store_in(tmp_path) as store:
        keep(store, vectors(1), NewReference("Ada"))
        with store.transaction():
            first = record(store, [event("k1", "Ada"), event("k1", "Ada"), event("k2", kind="unknown")], "head office")
            second = record(store, [event("k2", kind="unknown"), event("k3", kind="unknown")], "head office")
        assert [one["site"] for one in first] == ["head office"] * 2
        assert [one["event"] for one in second] == ["unknown"]
        assert first[0]["id"] < first[1]["id"] < second[0]["id"]
        assert sightings(store) == first + second
        assert "key" not in first[0]


def test_a_person_who_is_not_enrolled_is_not_written_down(tmp_path: Path) -> None:
    """A sighting of somebody deleted meanwhile: `named` is dropped, `left` is kept as of nobody known."""
    with store_in(tmp_path) as store:
        with store.transaction():
            left = event("k2", "Ada", "left", verdict="named", user_id="e-1")
            kept = record(store, [event("k1", "Ada"), left], "s")
        assert [one["event"] for one in kept] == ["left"]
        fields = ("person", "user_id", "score", "margin", "verdict")
        assert [kept[0][key] for key in fields] == [None, None, None, None, "unknown"]
        assert b"Ada" not in json.dumps(rows(store, "SELECT * FROM sightings")).encode()


def test_sightings_since_a_time_and_past_their_time(tmp_path: Path) -> None:
    """`since` gives what is not older, in the ids' order also where times are not; purge deletes what is older."""
    with store_in(tmp_path) as store:
        times = [
            "2026-01-01T00:00:00.000Z",
            "2026-01-03T00:00:00.500Z",
            "2026-01-02T00:00:00.000Z",
            "2026-01-04T00:00:00.000Z",
        ]
        with store.transaction():
            record(store, [event(f"k{i}", kind="unknown", time=when) for i, when in enumerate(times)], "s")

        def ids(**given: Any) -> list[int]:
            return [one["id"] for one in sightings(store, **given)]

        assert ids(since="2026-01-02T00:00:00.000000Z") == [2, 3, 4]
        assert ids(since="2026-01-03T00:00:00.500000Z") == [2, 4]
        assert ids(since="2027-01-01T00:00:00.000000Z") == []
        assert ids(after_id=2, since="2026-01-02T00:00:00.000000Z") == [3, 4]
        assert ids(limit=2) == [1, 2]
        assert ids(limit=0) == ids(limit=-1) == []
        with store.transaction():
            assert store.sightings.purge(2, datetime(2026, 1, 4, 12, tzinfo=UTC)) == 2
        assert ids() == [2, 4]


def test_sightings_of_a_time_are_found(tmp_path: Path) -> None:
    """From `since` to before `until`, newest first, page by page, whatever the order of their ids; of a time without any, none."""
    with store_in(tmp_path) as store:
        hours = [8, 9, 12, 10, 11, 13]
        with store.transaction():
            store.sightings.record(
                (
                    Event(
                        key=f"k{hour}",
                        event="unknown",
                        time=f"2026-01-31T{hour:02}:00:00.000Z",
                        camera="door",
                        track=hour,
                    )
                    for hour in hours
                ),
                "site",
            )

        def found(
            since: int | None, until: int | None, limit: int = 10, before: int | None = None
        ) -> tuple[list[int], int | None]:
            times = (None if hour is None else f"2026-01-31T{hour:02}:00:00.000000Z" for hour in (since, until))
            page, following = store.sightings.found(before, 0, None, None, None, limit, Span(*times))
            return [one.track or 0 for one in page], following

        assert found(None, None) == ([13, 11, 10, 12, 9, 8], None)
        assert found(9, 12) == ([11, 10, 9], None)
        first, following = found(9, 12, 2)
        assert first == [11, 10]
        assert found(9, 12, 2, following) == ([9], None)
        assert found(13, None) == ([13], None)
        assert found(None, 9) == ([8], None)
        assert found(14, None) == found(None, 8) == ([], None)


def test_the_sightings_of_a_stranger_are_found(tmp_path: Path) -> None:
    """Those of one stranger only, page by page, however far apart they are."""
    with store_in(tmp_path) as store:
        with store.transaction():
            record(store, [event(f"k{i}", kind="unknown") for i in range(6)], "s")
            store.connection.execute("UPDATE sightings SET stranger = id % 2")

        def ids(before: int | None, limit: int) -> tuple[list[int], int | None]:
            found, following = store.sightings.found(before, 0, None, None, None, limit, stranger=1)
            return [one.id for one in found], following

        assert ids(None, 2) == ([5, 3], 3)
        assert ids(3, 2) == ([1], None)
        found, _ = store.sightings.found(None, 0, None, ["nowhere"], None, 9, stranger=1)
        assert found == []
