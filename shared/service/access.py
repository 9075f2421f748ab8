"""One way to ask the gallery, whether the site runs or not: over its socket, or by opening the files under the lock."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from shared.errors import RefusedError, RollcallError, Say, TemporaryError
from shared.files.private_folder import make_private_folder
from shared.ipc.client import SiteClient, site_is_running
from shared.service.check import check_running
from shared.service.service import Request, StoreService
from shared.settings.schema import Settings
from shared.store.lock import GalleryInUseError, SiteLock
from shared.store.opening import close_store, open_store, open_store_or_look
from shared.store.store import Store, explain

_LOCK_TIMEOUT_S = 10.0
_LOOK_AGAIN_S = 0.5
_ROWS_A_PAGE = 5000  # of a listing: a whole large gallery is more than one frame may hold


class Site(Protocol):
    """What both kinds of access offer."""

    live: bool

    def call(self, op: str, blob: bytes | memoryview = b"", **arguments: Any) -> dict[str, Any]:
        """The answer to one operation of StoreService. Raises RollcallError."""
        ...

    def check(self) -> list[str]:
        """Everything unsound in the store and in the block, one line each. Raises RollcallError."""
        ...

    def close(self) -> None: ...


class RunningSite:
    """A site that runs: every operation goes through its writer."""

    live = True

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client = SiteClient(settings.run_dir)

    def call(self, op: str, blob: bytes | memoryview = b"", **arguments: Any) -> dict[str, Any]:
        return self._client.call(op, blob, **arguments)

    def check(self) -> list[str]:
        """Read by this process: the writer only tells what it has done, and goes on with its work."""
        return check_running(self._settings, lambda: self.call("info"))

    def close(self) -> None:
        self._client.close()


class FilesOfSite:
    """The files of a site that does not run, opened under its lock until `close`."""

    live = False

    def __init__(
        self,
        settings: Settings,
        say: Say,
        *,
        lock_timeout_s: float = _LOCK_TIMEOUT_S,
        may_look: bool = False,
        before_opening: Callable[[], None] = lambda: None,
    ) -> None:
        """`may_look`: on a full or read-only disk, open what is there for reading only; writes are then refused as temporary.
        `before_opening`: what is to be done under the lock before the store is opened."""
        make_private_folder(settings.data_dir)
        self._lock = SiteLock(settings.db_path)
        self._lock.acquire(lock_timeout_s)
        try:
            before_opening()
            self.store: Store
            self.store, without_room = (open_store_or_look if may_look else _open)(settings.db_path, say)
        except BaseException:
            self._lock.release()
            raise
        try:
            self.service = StoreService(
                self.store,
                None,
                site=settings.site.name,
                data_dir=settings.data_dir,
                keep_days=settings.site.keep_sightings_days,
                keep_unknowns_days=settings.site.keep_unknowns_days,
                say=say,
            )
            self.service.begin()
        except BaseException as error:
            self.close()
            if isinstance(error, sqlite3.Error):
                raise explain(error, settings.db_path) from error
            raise
        self.service.refusal = without_room

    def call(self, op: str, blob: bytes | memoryview = b"", **arguments: Any) -> dict[str, Any]:
        request = Request(op, arguments, blob)
        if not self.service.is_write(op):
            return self.service.read(request)
        answer = self.service.write([request])[0]
        if isinstance(answer, RollcallError):
            raise answer
        return answer

    def check(self) -> list[str]:
        refusal = self.service.refusal
        return [*([refusal.line()] if refusal else []), *self.service.check()]

    def close(self) -> None:
        try:
            close_store(self.store)
        finally:
            self._lock.release()


def _open(db_path: Path, say: Say) -> tuple[Store, TemporaryError | None]:
    return open_store(db_path, say), None


class SiteAccess:
    """`with SiteAccess(settings, say) as site:` the running site, or its files."""

    def __init__(self, settings: Settings, say: Say, *, create: bool = False, may_look: bool = False) -> None:
        """`create`: make a database when there is none; otherwise that is a RefusedError. `may_look`: see FilesOfSite."""
        self._settings, self._say, self._create, self._may_look = settings, say, create, may_look
        self._site: Site | None = None

    def __enter__(self) -> Site:
        deadline = time.monotonic() + _LOCK_TIMEOUT_S
        while True:
            try:
                self._site = self._open()
                return self._site
            except GalleryInUseError:
                # Whoever holds the lock may be a site on its way up, which then answers for itself.
                if time.monotonic() >= deadline:
                    raise

    def _open(self) -> Site:
        if site_is_running(self._settings.run_dir):
            return RunningSite(self._settings)
        if not self._create and not self._settings.db_path.exists():
            raise RefusedError(
                "no gallery yet", where=str(self._settings.db_path), remedy="enrol somebody: supervisor.py enrol FOLDER"
            )
        return FilesOfSite(self._settings, self._say, lock_timeout_s=_LOOK_AGAIN_S, may_look=self._may_look)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._site is not None:
            self._site.close()


def all_references(site: Site, person: str | None = None) -> Iterator[dict[str, Any]]:
    """Each reference's row without its vector, in id order, of one person or of all: a page at a time."""
    after_id = None
    while page := site.call("references", person=person, after_id=after_id, limit=_ROWS_A_PAGE)["references"]:
        yield from page
        after_id = page[-1]["id"]


def all_people(site: Site) -> Iterator[dict[str, Any]]:
    """Everybody enrolled, by name: a page at a time."""
    after = None
    while page := site.call("people", after=after, limit=_ROWS_A_PAGE)["people"]:
        yield from page
        after = page[-1]["person"]


def all_strangers(site: Site) -> Iterator[dict[str, Any]]:
    """Everybody who was seen and is not enrolled, by id: a page at a time."""
    after = None
    while page := site.call("strangers", after=after)["strangers"]:
        yield from page
        after = page[-1]["id"]
