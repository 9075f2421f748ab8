"""Stores for tests: opened without a site, made to fail at a chosen place, and read byte by byte."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from shared.events import Event
from shared.gallery.publisher import GalleryPublisher
from shared.ipc.requests.base import Request
from shared.ipc.requests.references import Save
from shared.ipc.requests.table import request_of
from shared.records import NewReference
from shared.service.access import FilesOfSite
from shared.service.service import StoreService
from shared.settings.file import load_settings
from shared.settings.schema import Settings, SiteSettings
from shared.store.check import store_faults
from shared.store.connection import connect
from shared.store.opening import open_store
from shared.store.saving import Saved, save
from shared.store.store import Store
from tests.support.vectors import noise

DIM = 64  # of the embeddings that `vectors` invents
_RNG = np.random.default_rng(7)
DLIB = '[recognition]\nengine = "dlib"\n'


def silent(line: str) -> None:
    """For what a store says where a test does not look at it."""


def site_settings(folder: Path, text: str = DLIB) -> Settings:
    """`folder`/site.toml, written and read."""
    (folder / "site.toml").write_text(text, encoding="utf-8")
    return load_settings(folder / "site.toml")


@contextmanager
def files_of(settings: Settings, said: list[str] | None = None) -> Iterator[FilesOfSite]:
    files = FilesOfSite(settings, silent if said is None else said.append)
    try:
        yield files
    finally:
        files.close()


@contextmanager
def store_in(folder: Path, said: list[str] | None = None) -> Iterator[Store]:
    """The store `folder`/face_embeddings.db, made where there is none, and closed as a process that stops closes it."""
    store = open_store(folder / "face_embeddings.db", silent if said is None else said.append)
    try:
        yield store
    finally:
        store.close()


def keep(store: Store, vectors: NDArray[np.float32], *references: NewReference) -> Saved:
    """Save in a transaction of its own."""
    with store.transaction():
        return save(store, references, vectors)


def service_of(store: Store, data_dir: Path, said: list[str] | None = None) -> StoreService:
    say = silent if said is None else said.append
    return StoreService(store, None, site=SiteSettings(name="test"), data_dir=data_dir, say=say)


def rows(store: Store, query: str, *values: object) -> list[Any]:
    return store.connection.execute(query, values).fetchall()


def everything(path: Path) -> dict[str, list[Any]]:
    """All rows of all tables, through a connection of its own."""
    connection = sqlite3.connect(path)
    try:
        names = sorted(row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type='table'"))
        found = {name: connection.execute(f"SELECT * FROM {name}").fetchall() for name in names}  # noqa: S608  # our own tables
        return {name: sorted(found[name], key=repr) for name in names}
    finally:
        connection.close()


def bytes_under(folder: Path, scratch: Path) -> dict[str, bytes]:
    """Each file's bytes, by name; copied by another process, since closing a file here would drop SQLite's locks on it."""
    shutil.rmtree(scratch, ignore_errors=True)
    subprocess.run(["cp", "-r", str(folder), str(scratch)], check=True)
    found = {str(path.relative_to(scratch)): path.read_bytes() for path in scratch.rglob("*") if path.is_file()}
    shutil.rmtree(scratch)
    return found


class FailingConnection(sqlite3.Connection):
    """Fails its `fails_at`-th statement from `arm` on, before SQLite sees it: a disk that fails once."""

    countdown: int | None = None

    def arm(self, fails_at: int) -> None:
        self.countdown = fails_at

    def disarm(self) -> bool:
        """Fail no more; whether it has failed."""
        left, self.countdown = self.countdown, None
        return left is not None and left <= 0

    def _count(self) -> None:
        if self.countdown is None:
            return
        self.countdown -= 1
        if self.countdown == 0:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR
            raise error

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        self._count()
        return super().execute(*arguments)

    def executemany(self, *arguments: Any) -> sqlite3.Cursor:
        self._count()
        return super().executemany(*arguments)


class InterruptedConnection(sqlite3.Connection):
    """Is interrupted once, in the `fails_at`-th score of SQLite's own instructions, within whatever statement that is."""

    _INSTRUCTIONS = 20
    countdown: int | None = None

    def arm(self, fails_at: int) -> None:
        self.countdown = fails_at
        self.set_progress_handler(self._tick, self._INSTRUCTIONS)

    def disarm(self) -> bool:
        """Fail no more; whether it has failed."""
        self.set_progress_handler(None, 0)
        left, self.countdown = self.countdown, None
        return left is not None and left <= 0

    def _tick(self) -> int:
        assert self.countdown is not None  # armed
        self.countdown -= 1
        return int(self.countdown == 0)


Failing = type[FailingConnection] | type[InterruptedConnection]


def failing_store(path: Path, kind: Failing, fails_at: int) -> tuple[Store, FailingConnection | InterruptedConnection]:
    """A store whose connection is armed."""
    connection = connect(path, kind)
    assert isinstance(connection, (FailingConnection, InterruptedConnection))
    connection.arm(fails_at)
    return Store(connection, path, read_only=False), connection


def armed_at(kind: Failing, fails_at: int) -> Any:
    """Connections of `kind` that count their steps together: the `fails_at`-th one fails, in whichever of them it is."""

    class Together(kind):  # type: ignore[misc, valid-type]  # the kind is the caller's
        left: ClassVar = [fails_at]

        def __init__(self, *arguments: Any, **more: Any) -> None:
            super().__init__(*arguments, **more)
            self.arm(fails_at)

        @property
        def countdown(self) -> int | None:
            return self.left[0]

        @countdown.setter
        def countdown(self, value: int | None) -> None:
            if value is not None:
                self.left[0] = min(value, self.left[0])

        def set_progress_handler(self, handler: Any, n: int) -> None:
            """Those who want to be told of progress don't take the place of what interrupts."""
            if issubclass(kind, InterruptedConnection):
                super().set_progress_handler(self._tick, self._INSTRUCTIONS)
            else:
                super().set_progress_handler(handler, n)

        @classmethod
        def has_failed(cls) -> bool:
            return cls.left[0] <= 0

    return Together


def fail_everywhere(path: Path, kind: Failing, attempt: Callable[[Store], None]) -> tuple[int, dict[str, list[Any]]]:
    """Make the 1st, 2nd, 3rd … step of `attempt` fail, until it passes clean; how often it failed, and what it then wrote.

    After every failure the store is sound and holds what it held before.
    """
    before = everything(path)
    for failures in range(10_000):
        store, connection = failing_store(path, kind, failures + 1)
        try:
            attempt(store)
        except Exception:  # noqa: BLE001  # whatever it is called: what counts is what it leaves
            assert connection.disarm(), "it failed for another reason"
        else:
            connection.disarm()  # what comes after the commit may have failed: it is done all the same
            store.close()
            return failures, everything(path)
        assert store_faults(store) == []
        store.close()
        assert everything(path) == before
    raise AssertionError("it never passed")


def record(store: Store, events: Sequence[dict[str, Any]], site: str = "s") -> list[dict[str, Any]]:
    """Keep events as the writer does; the documents of the new sightings."""
    return [one.to_json() for one in store.sightings.record(map(Event.from_json, events), site)]


def sightings(store: Store, **given: Any) -> list[dict[str, Any]]:
    """The documents of what is kept."""
    return [one.to_json() for one in store.sightings.since(**given)]


def vectors(count: int, dim: int = DIM) -> np.ndarray[Any, np.dtype[np.float32]]:
    """(count, dim): invented embeddings, others each time."""
    return noise(_RNG, count, dim)


def request(op: str, blob: bytes = b"", **arguments: Any) -> Request[Any]:
    """A request as a socket brings it. Raises UsageError for what is none."""
    return request_of({"op": op, "arguments": arguments}, blob)


def save_request(count: int, *names: str, dim: int = DIM, **fields: Any) -> Save:
    """A save of `count` invented vectors."""
    return Save([NewReference(name, **fields) for name in names], vectors=vectors(count, dim))


def service_with(store: Store, publisher: GalleryPublisher, data_dir: Path) -> StoreService:
    """A service that publishes to a block, with all references in it."""
    site = SiteSettings(name="s", keep_sightings_days=1)
    service = StoreService(store, publisher, site=site, data_dir=data_dir, say=silent)
    service.publish_everything()
    return service


def event(key: str, person: str | None = None, kind: str = "named", **fields: Any) -> dict[str, Any]:
    """An event as a camera sends it."""
    when = {"time": "2026-01-31T08:00:00.000Z", "camera": "door", "track": 1}
    return {"key": key, "event": kind, "person": person, "user_id": None, "score": 0.7, "margin": 0.3, **when, **fields}
