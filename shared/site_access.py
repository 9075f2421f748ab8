"""One way to ask the gallery, whether the site runs or not: over its socket, or by opening the files under the lock."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Protocol

from shared.errors import RefusedError, RollcallError
from shared.settings import Settings
from shared.store import Store
from shared.store_opening import Say, SiteLock, make_private_folder, open_store
from shared.store_service import Request, StoreService
from shared.writer_client import SiteClient, site_is_running

_LOCK_TIMEOUT_S = 10.0


class Site(Protocol):
    """What both kinds of access offer."""

    live: bool

    def call(self, op: str, blob: bytes = b"", **arguments: Any) -> dict[str, Any]:
        """The answer to one operation of StoreService. Raises RollcallError."""
        ...

    def close(self) -> None: ...


class RunningSite:
    """A site that runs: every operation goes through its writer."""

    live = True

    def __init__(self, settings: Settings) -> None:
        self._client = SiteClient(settings.run_dir)

    def call(self, op: str, blob: bytes = b"", **arguments: Any) -> dict[str, Any]:
        return self._client.call(op, blob, **arguments)

    def close(self) -> None:
        self._client.close()


class FilesOfSite:
    """The files of a site that does not run, opened under its lock until `close`."""

    live = False

    def __init__(self, settings: Settings, say: Say) -> None:
        make_private_folder(settings.data_dir)
        self._lock = SiteLock(settings.db_path)
        self._lock.acquire(_LOCK_TIMEOUT_S)
        try:
            self.store: Store = open_store(settings.db_path, say)
        except BaseException:
            self._lock.release()
            raise
        self.service = StoreService(
            self.store,
            None,
            site=settings.site.name,
            data_dir=settings.data_dir,
            keep_days=settings.site.keep_sightings_days,
            say=say,
        )

    def call(self, op: str, blob: bytes = b"", **arguments: Any) -> dict[str, Any]:
        request = Request(op, arguments, blob)
        if not self.service.is_write(op):
            return self.service.read(request)
        answer = self.service.write([request])[0]
        if isinstance(answer, RollcallError):
            raise answer
        return answer

    def close(self) -> None:
        try:
            self.store.close()
        finally:
            self._lock.release()


class SiteAccess:
    """`with SiteAccess(settings, say) as site:` the running site, or its files."""

    def __init__(self, settings: Settings, say: Say, *, create: bool = False) -> None:
        """`create`: make a database when there is none; otherwise that is a RefusedError."""
        self._settings, self._say, self._create = settings, say, create
        self._site: Site | None = None

    def __enter__(self) -> Site:
        if site_is_running(self._settings.run_dir):
            self._site = RunningSite(self._settings)
        elif self._create or self._settings.db_path.exists():
            self._site = FilesOfSite(self._settings, self._say)
        else:
            raise RefusedError(
                "no gallery yet", where=str(self._settings.db_path), remedy="enrol somebody: supervisor.py enrol FOLDER"
            )
        return self._site

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._site is not None:
            self._site.close()
