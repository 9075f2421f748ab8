"""What is past its time goes, from every copy, and a clock that has just jumped deletes nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from shared.records import NewReference
from shared.store.backup import BackupKeeper
from shared.store.marks import MARKS_KEPT, drop_old_marks, is_marked, mark_of
from shared.store.opening import backup_path, open_read_only
from shared.store.references import delete_references
from shared.store.retention import PLAUSIBLE, STEADY_S, ClockWatch
from tests.component.test_strangers import service_of as service_with_strangers
from tests.component.test_strangers import tell
from tests.support.stores import bytes_under, event, keep, record, rows, service_of, sightings, store_in, vectors
from tests.support.stranger_events import seen, trace
from tests.support.vectors import noise

_NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


def test_a_clock_that_goes_on_from_what_is_known_is_trusted() -> None:
    """At once after a start, also after a weekend off, and all the while."""
    watch = ClockWatch(_NOW)
    assert watch.trusts(_NOW + timedelta(days=2), 10.0)
    for minutes in range(0, 6000, 10):
        assert watch.trusts(_NOW + timedelta(days=2, minutes=minutes), 10.0 + 60 * minutes)


@pytest.mark.parametrize("known", [None, _NOW])
@pytest.mark.parametrize("jump", [timedelta(days=400), timedelta(days=-400), PLAUSIBLE + timedelta(minutes=1)])
def test_a_clock_that_jumped_is_trusted_after_an_hour_of_agreement(known: datetime | None, jump: timedelta) -> None:
    """A new box, and one that comes up in another year: not for an hour; then it is, and what it shows is known."""
    watch = ClockWatch(known)
    for seconds in range(0, int(STEADY_S), 600):
        assert not watch.trusts(_NOW + jump + timedelta(seconds=seconds), 5.0 + seconds)
    assert watch.trusts(_NOW + jump + timedelta(seconds=STEADY_S), 5.0 + STEADY_S)


def test_a_clock_that_is_set_right_is_trusted_at_once() -> None:
    """+400 days for seconds at the start: nothing is deleted, and as soon as it is right again everything goes on."""
    watch = ClockWatch(_NOW)
    assert not watch.trusts(_NOW + timedelta(days=400), 1.0)
    assert watch.trusts(_NOW + timedelta(seconds=20), 20.0)


def test_a_clock_that_jumps_while_the_site_runs_begins_anew() -> None:
    """An hour of agreement before says nothing of a clock that jumps now; nor do several small steps add up to one."""
    watch = ClockWatch(None)
    assert not watch.trusts(_NOW, 0.0)
    assert watch.trusts(_NOW + timedelta(seconds=STEADY_S), STEADY_S)
    assert not watch.trusts(_NOW + timedelta(days=30), STEADY_S + 600)
    assert not watch.trusts(_NOW + timedelta(days=30, seconds=600), STEADY_S + 1200)
    assert watch.trusts(_NOW + timedelta(seconds=STEADY_S + 1800), STEADY_S + 1800)
    slow = ClockWatch(None)
    for turn in range(100):  # 5 s more in every ten minutes: half an hour's worth is within what agrees
        assert slow.trusts(_NOW + timedelta(seconds=605 * turn), 600.0 * turn) == (turn >= 6)


# --- in a real store ------------------------------------------------------------------------------------------------


def _at(now: datetime, days: float) -> str:
    return f"{now + timedelta(days=days):%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"


def test_a_clock_that_is_a_year_ahead_for_seconds_deletes_nothing(tmp_path: Path) -> None:
    """+400 days while the store is opened: all sightings and marks are there; with the clock right again old ones go, at once."""
    now = datetime.now(UTC)
    with store_in(tmp_path) as store:
        keep(store, vectors(2), NewReference("Ada"), NewReference("Bo"))
        with store.transaction():
            delete_references(store, "Ada")
            record(store, [event(f"{days}", "Bo", time=_at(now, -days)) for days in (1, 5, 29, 31)], "s")
        service = service_of(store, tmp_path)
        service.purge(now + timedelta(days=400), 10.0)
        assert rows(store, "SELECT COUNT(*) FROM sightings") == [(4,)]
        service.purge(now, 20.0)
        assert rows(store, "SELECT COUNT(*) FROM sightings") == [(3,)]
        assert is_marked(store, "Ada")
    with store_in(tmp_path) as store:
        service_of(store, tmp_path).purge(now + timedelta(days=400), 10.0)
        assert rows(store, "SELECT COUNT(*) FROM sightings") == [(3,)]


def test_rows_that_are_dated_ahead_go_by_when_they_were_written(tmp_path: Path) -> None:
    """A sighting of 2099 goes keep_sightings_days after it was written; written by a clock that was ahead too, after it was found
    out; a stranger likewise."""
    now = datetime.now(UTC)
    with store_in(tmp_path) as store:
        service = service_with_strangers(store, days=2)
        service.purge(now, 0.0)  # as at every start
        (face,) = noise(np.random.default_rng(1), 1, 64)
        tell(service, seen("a", trace(face), time="2099-01-01T00:00:00.000Z"))
        with store.transaction():
            record(store, [event(key, time="2099-01-01T00:00:00.000Z", kind="unknown") for key in "bc"], "s")
            store.connection.execute("UPDATE sightings SET recorded_at='2098-01-01T00:00:00.000000Z' WHERE key='c'")
        left = []
        for day in (0, 1, 3, 29, 31):
            service.purge(now + timedelta(days=day), 86400.0 * day)
            left.append(
                (
                    rows(store, "SELECT COUNT(*) FROM sightings")[0][0],
                    rows(store, "SELECT COUNT(*) FROM strangers")[0][0],
                )
            )
        assert left == [(3, 1), (3, 1), (3, 0), (3, 0), (0, 0)]


def test_marks_expire(tmp_path: Path) -> None:
    """After three years; a mark that is dated ahead counts from when that is found out."""
    now = datetime.now(UTC)
    with store_in(tmp_path) as store:
        keep(store, vectors(2), NewReference("Ada"), NewReference("Bo"))
        with store.transaction():
            delete_references(store, "Ada")
            delete_references(store, "Bo")
            store.connection.execute(
                "UPDATE deletion_marks SET deleted_at='2099-01-01 00:00:00' WHERE person_mark=?",
                (mark_of(store, "Bo"),),
            )
            assert drop_old_marks(store, now) == 0
            assert drop_old_marks(store, now + MARKS_KEPT - timedelta(days=1)) == 0
            assert is_marked(store, "Ada")
            assert drop_old_marks(store, now + MARKS_KEPT + timedelta(days=1)) > 0
        assert not is_marked(store, "Ada")
        assert not is_marked(store, "Bo")


def test_what_was_purged_is_in_no_file(tmp_path: Path) -> None:
    """Fifty strangers past their time: no byte of their embeddings is left in the database or its WAL."""
    now = datetime.now(UTC)
    with store_in(tmp_path / "data") as store:
        service = service_with_strangers(store, days=1)
        faces = noise(np.random.default_rng(1), 50, 512)
        tell(service, *(seen(f"{i}", trace(face), track=i, time=_at(now, -3)) for i, face in enumerate(faces)))
        tell(service, seen("now", kind="unknown", track=99))
        held = b"".join(bytes_under(tmp_path / "data", tmp_path / "copy").values())
        assert any(face.tobytes()[:48] in held for face in faces)
        service.purge(now, 10.0)
        held = b"".join(bytes_under(tmp_path / "data", tmp_path / "copy").values())
        assert not [i for i, face in enumerate(faces) if face.tobytes()[:48] in held or face.tobytes()[-48:] in held]


def test_the_backup_keeps_nothing_that_was_purged(tmp_path: Path) -> None:
    """A backup with a sighting that was purged since is made anew within a day and at a stop, also when nothing else happened."""
    now = datetime.now(UTC)
    with store_in(tmp_path) as store:
        keep(store, vectors(1), NewReference("Ada"))
        with store.transaction():
            record(store, [event("old", "Ada", time=_at(now, -31)), event("new", "Ada", time=_at(now, -1))], "s")
        BackupKeeper(store.path).finish(store)
        service_of(store, tmp_path).purge(now, 10.0)
        BackupKeeper(store.path).finish(store)
        backup = open_read_only(backup_path(store.path))
        assert len(sightings(backup)) == 1
        backup.close()
