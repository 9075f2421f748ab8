"""Who may use the web part: kept as hashes, over when they are over, and gone with what they came of."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.errors import RefusedError, UsageError
from shared.ipc.requests.accesses import Accesses, AccessesUsed, AddAccess, FindAccess, RevokeAccess, UseLink
from shared.records import AccessKind, Role
from shared.service.service import StoreService
from shared.store import accesses
from shared.store.migration import copy_of_backup
from shared.store.store import Store
from tests.support.stores import rows, service_of, store_in

HASH, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with store_in(tmp_path) as opened:
        yield opened


@pytest.fixture
def service(store: Store, tmp_path: Path) -> StoreService:
    return service_of(store, tmp_path)


def add(access_id: str = "one", kind: AccessKind = AccessKind.TOKEN, **given: Any) -> AddAccess:
    values: dict[str, Any] = {"role": Role.VIEWER, "label": "tests", "secret": HASH, "lasts_s": 60.0}
    return AddAccess(access_id, kind, **{**values, **given})


def ids(service: StoreService) -> list[str]:
    return [one.id for one in service.ask(Accesses()).accesses]


def test_an_access_is_found_with_its_hash(service: StoreService) -> None:
    made = service.ask(add(cameras=["door"], role=Role.OPERATOR)).access
    found = service.ask(FindAccess("one"))
    assert (found.access, found.secret) == (made, HASH)
    assert made.cameras == ["door"]
    assert service.ask(FindAccess("another")).access is None


def test_an_access_is_over_at_its_time(service: StoreService, store: Store) -> None:
    """Not found and not listed from then on, and its row is deleted with the next purge. One without a time stays."""
    service.ask(add("short"))
    service.ask(add("ever", lasts_s=None))
    later = datetime.now(UTC) + timedelta(seconds=61)
    assert accesses.access_of(store, "short") is not None
    assert accesses.access_of(store, "short", later) is None
    assert [one.id for one in accesses.list_accesses(store, later)] == ["ever"]
    with store.transaction():
        assert accesses.drop_expired(store, later) == 1
    assert [row[0] for row in rows(store, "SELECT id FROM accesses")] == ["ever"]


def test_a_link_signs_in_once(service: StoreService) -> None:
    """The session has the link's rights and its own time. A second use, a wrong secret and a token in its place are refused alike."""
    service.ask(add("link", AccessKind.LINK, role=Role.ADMIN, session_s=3600.0, cameras=["door"]))
    service.ask(add("token"))
    with pytest.raises(RefusedError, match="not valid"):
        service.ask(UseLink("link", OTHER, "s0", OTHER))
    session = service.ask(UseLink("link", HASH, "s1", OTHER)).access
    assert (session.kind, session.role, session.cameras, session.parent) == (
        AccessKind.SESSION,
        Role.ADMIN,
        ["door"],
        "link",
    )
    assert session.expires_at is not None
    assert 3500 < (datetime.fromisoformat(session.expires_at) - datetime.now(UTC)).total_seconds() <= 3600
    assert service.ask(UseLink("link", HASH, "s1", OTHER)).access == session, (
        "the same request again: its answer was lost"
    )
    for link in ("link", "token", "nothing"):
        with pytest.raises(RefusedError, match="not valid"):
            service.ask(UseLink(link, HASH, "s2", HASH))
    assert ids(service) == ["token", "s1"]


def test_what_is_taken_back_takes_its_sessions_along(service: StoreService) -> None:
    service.ask(add("ada", AccessKind.PASSWORD, lasts_s=None))
    service.ask(add("s1", AccessKind.SESSION, parent="ada"))
    service.ask(add("s2", AccessKind.SESSION))
    assert service.ask(RevokeAccess("ada")).count == 2
    assert ids(service) == ["s2"]
    assert service.ask(RevokeAccess("ada")).count == 0


def test_a_password_is_replaced_and_nothing_else_is(service: StoreService) -> None:
    service.ask(add("ada", AccessKind.PASSWORD, secret=HASH, lasts_s=None))
    service.ask(add("ada", AccessKind.PASSWORD, secret=OTHER, lasts_s=None))
    assert service.ask(FindAccess("ada")).secret == OTHER
    service.ask(add("token"))
    for kind in (AccessKind.TOKEN, AccessKind.PASSWORD):
        with pytest.raises(RefusedError, match="taken"):
            service.ask(add("token", kind, secret=OTHER))


def test_a_request_that_is_repeated_is_answered_again(service: StoreService) -> None:
    """Its first answer was lost. The access is that of the first request."""
    first = service.ask(add("token"))
    assert service.ask(add("token")) == first
    with pytest.raises(RefusedError, match="taken"):
        service.ask(add("token", AccessKind.PASSWORD))
    assert ids(service) == ["token"]


def test_another_password_ends_the_sessions_of_the_one_before(service: StoreService) -> None:
    """Whoever signed in with it may be why it was changed; and the new one may have another role."""
    service.ask(add("ada", AccessKind.PASSWORD, lasts_s=None))
    service.ask(add("s1", AccessKind.SESSION, parent="ada"))
    service.ask(add("ada", AccessKind.PASSWORD, secret=OTHER, lasts_s=None))
    assert ids(service) == ["ada"]


def test_a_session_of_what_was_taken_back_does_not_begin(service: StoreService) -> None:
    """The password was taken back while it was being compared."""
    with pytest.raises(RefusedError, match="taken back"):
        service.ask(add("s1", AccessKind.SESSION, parent="ada"))
    assert ids(service) == []


def test_when_it_was_used_is_noted(service: StoreService) -> None:
    service.ask(add())
    service.ask(AccessesUsed(["one", "nobody"]))
    access = service.ask(FindAccess("one")).access
    assert access is not None
    assert access.last_used_at is not None


@pytest.mark.parametrize(
    "given",
    [
        {"access_id": "../x"}, {"access_id": ""}, {"access_id": "x" * 65}, {"label": " "}, {"label": "x" * 201}, {"lasts_s": 0.0},
        {"lasts_s": 1e9}, {"session_s": -1.0}, {"lasts_s": float("nan")},
    ],
)  # fmt: skip
def test_what_can_be_no_access_is_refused(service: StoreService, given: dict[str, Any]) -> None:
    with pytest.raises(RefusedError):
        service.ask(add(**given))
    assert ids(service) == []


def test_a_secret_that_is_no_hash_is_refused(service: StoreService) -> None:
    """A mistake of ours must not put a secret itself into the database."""
    with pytest.raises(UsageError):
        service.ask(add(secret="rc_0123456789abcdef_" + "x" * 43))


def test_there_is_a_limit(service: StoreService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accesses, "MAX_ACCESSES", 2)
    service.ask(add("one"))
    service.ask(add("two"))
    with pytest.raises(RefusedError, match="too many"):
        service.ask(add("three"))


def test_accesses_are_in_a_copy_and_unsound_ones_are_not(service: StoreService, store: Store, tmp_path: Path) -> None:
    """A database that is brought to another version keeps who may come in."""
    service.ask(add("one", cameras=["door"]))
    service.ask(add("two"))
    service.ask(add("three"))
    with store.transaction():
        store.connection.execute("UPDATE accesses SET role='emperor' WHERE id='two'")
        store.connection.execute("UPDATE accesses SET cameras='{' WHERE id='three'")
    target = tmp_path / "copied.db"
    copy_of_backup(tmp_path / "face_embeddings.db", target)
    copied = sqlite3.connect(target)
    assert [row[0] for row in copied.execute("SELECT id FROM accesses")] == ["one"]
    copied.close()


def test_the_oldest_sessions_of_a_password_end(service: StoreService, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever signs in again and again does not fill the table; sessions of others stay."""
    monkeypatch.setattr(accesses, "MAX_SESSIONS_EACH", 2)
    for name in ("ada", "bo"):
        service.ask(add(name, AccessKind.PASSWORD, lasts_s=None))
    for number in range(4):
        service.ask(add(f"s{number}", AccessKind.SESSION, parent="ada"))
    service.ask(add("other", AccessKind.SESSION, parent="bo"))
    assert ids(service) == ["ada", "bo", "s2", "s3", "other"]
