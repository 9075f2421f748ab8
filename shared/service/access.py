"""Gives access to the gallery in the same way whether the site runs or not: over its socket, or by opening its files under the lock.

The caller need not know which of the two it is.
"""

from __future__ import annotations

import sqlite3
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from shared.embeddings import Batch
from shared.errors import RefusedError, Say, TemporaryError
from shared.events import Sighting
from shared.files.private_folder import make_private_folder
from shared.gallery.match import Gallery
from shared.gallery.memory import MemoryGallery
from shared.gallery.reader import GalleryReader
from shared.gallery.tail import Tail, tail_of_batches
from shared.ipc.client import SiteClient, site_is_running
from shared.ipc.requests.base import Answer_co, Request, Vectors
from shared.ipc.requests.corrections import (
    CorrectionForgotten,
    Corrections,
    ForgetCorrection,
    Judged,
    Right,
    UndoCorrection,
    Undone,
    Wrong,
)
from shared.ipc.requests.forgetting import Forget, Forgotten
from shared.ipc.requests.gallery import GalleryInfo, Info, Restore, Restored
from shared.ipc.requests.model import Stage, Stamp, Switched, SwitchModel, Unstage
from shared.ipc.requests.people import Merge, People, Rename, Renamed, UndoPeople
from shared.ipc.requests.references import (
    BringBack,
    Cosine,
    Count,
    Delete,
    IsMarked,
    MarkReference,
    OneSided,
    OneSidedPerson,
    References,
    ReferenceState,
    RightReferences,
    Save,
    Saved,
    SetAside,
)
from shared.ipc.requests.review import DifferentPeople
from shared.ipc.requests.sightings import Record, Recorded, Sightings
from shared.ipc.requests.strangers import ForgetStranger, NameStranger, StrangerForgotten, StrangerNamed, Strangers
from shared.model_id import ModelId
from shared.records import Correction, NewReference, Person, Reference, Stranger
from shared.service.check import check_running
from shared.service.negatives import negative_batches
from shared.service.scored_references import ScoredReference, scored_references
from shared.service.service import StoreService
from shared.service.sync_key import sync_key_or_none
from shared.settings.schema import Settings
from shared.store.copying import copy_to
from shared.store.loading import sound_batches, stored_batches, vectors_of_person
from shared.store.lock import GalleryInUseError, SiteLock
from shared.store.opening import close_store, open_read_only, open_store, open_store_or_read_only
from shared.store.references import user_id_of
from shared.store.store import Store, explain
from shared.uuid7 import new_uuids

_LOCK_TIMEOUT_S = 10.0
# How long to wait for the lock before checking again whether a site runs.
_SOCKET_CHECK_INTERVAL_S = 0.5
# How many rows of a listing are asked for at once, since a large gallery does not fit one message.
_ROWS_A_PAGE = 5000
_SIGHTINGS_A_PAGE = 1000


class GalleryClient(ABC):
    """The operations on a site's gallery, one method each. All raise RollcallError."""

    @abstractmethod
    def ask(self, request: Request[Answer_co]) -> Answer_co:
        """The answer to one request."""

    @abstractmethod
    def batches(self, say: Say) -> AbstractContextManager[Iterator[Batch]]:
        """Yield all references in use with their vectors, some thousand at a time. Calls `say` for rows that are damaged."""

    @abstractmethod
    def matching(self, say: Say) -> AbstractContextManager[Gallery]:
        """Yield the gallery to match against. It may be used after `close`."""

    @abstractmethod
    def tail(self) -> Tail:
        """How alike the people of the gallery are. Raises UnsoundRowError for a damaged row that is not set aside yet."""

    @abstractmethod
    def vectors_of(self, person: str) -> dict[int, NDArray[np.float32]]:
        """The embeddings (dim,) of a person's references by id, also of those that are set aside."""

    @abstractmethod
    def backup_to(self, target: Path) -> None:
        """Copy the database to `target`. The copy is complete in one file. Can also raise OSError."""

    @abstractmethod
    def restore(self, staged: Path) -> Restored:
        """Restore the references of `staged`, a file in the site's folder for copies, except people deleted since."""

    @abstractmethod
    def check(self) -> list[str]:
        """The faults of the store and of the block, one line each."""

    @abstractmethod
    def reload(self) -> bool:
        """Make a running site read its settings again. Returns False if no site runs."""

    @abstractmethod
    def close(self) -> None: ...

    # --- references --------------------------------------------------------------------------------------------

    def save(self, rows: Sequence[NewReference], vectors: Vectors, fingerprint: str | None = None) -> Saved:
        """Save references. `vectors`: (n, dim) float32. `fingerprint`: that of their model, if it is known."""
        return self.ask(Save(self._repeatable(rows), fingerprint, vectors=vectors))

    def _repeatable(self, rows: Sequence[NewReference]) -> list[NewReference]:
        """The rows with everything that is needed so that a repeated request saves them once."""
        return list(rows)

    def delete(self, person_name: str, image_path: str | None = None) -> int:
        return self.ask(Delete(person_name, image_path)).deleted

    def count(self) -> int:
        return self.ask(Count()).count

    def people(self) -> Iterator[Person]:
        """All people who are enrolled, in the order of their names."""
        after: str | None = None
        while page := self.ask(People(after, _ROWS_A_PAGE)).people:
            yield from page
            after = page[-1].person

    def references(self, person: str | None = None) -> Iterator[Reference]:
        """The references of one person or of all, in the order of their ids."""
        after_id: int | None = None
        while page := self.ask(References(person, after_id, _ROWS_A_PAGE)).references:
            yield from page
            after_id = page[-1].id

    def is_marked(self, person: str, photo_digest: str | None = None) -> bool:
        """Whether this person, or this photo of theirs, was deleted."""
        return self.ask(IsMarked(person, photo_digest)).marked

    def cosine(self, reference_id: int, vector: Vectors) -> float:
        """The cosine of a stored reference and `vector`, (dim,) float32."""
        return self.ask(Cosine(reference_id, vectors=vector.reshape(1, -1))).cosine

    def forget(self, person: str, photo: str | None = None) -> Forgotten:
        return self.ask(Forget(person, photo))

    # --- references that are set aside -------------------------------------------------------------------------

    def set_aside(self, person: str, photo: str, reason: str) -> ReferenceState:
        """Set a reference aside. `photo`: see SetAside."""
        return self.ask(SetAside(person, photo, reason))

    def bring_back(self, person: str, photo: str) -> ReferenceState:
        return self.ask(BringBack(person, photo))

    def mark_reference(self, person: str, photo: str, *, right: bool) -> ReferenceState:
        """Say that a reference is right, or take that back. `photo`: see SetAside."""
        return self.ask(MarkReference(person, photo, right))

    def right_references(self) -> Iterator[int]:
        """The ids of all references that are marked as right."""
        page = self.ask(RightReferences()).ids
        while page:
            yield from page
            page = self.ask(RightReferences(page[-1])).ids

    def one_sided(self) -> list[OneSidedPerson]:
        """The people whose photos all show the same side, the newest first."""
        return self.ask(OneSided()).people

    def scored_references(self, person: str, say: Say) -> list[ScoredReference]:
        """All references of a person in the order of their ids, also those that are set aside, with their scores in the gallery.

        Raises RefusedError if there is no such person.
        """
        references = list(self.references(person))
        if not references:
            raise RefusedError("nobody of that name", where=person, remedy="see: supervisor.py people")
        with self.matching(say) as gallery:
            return scored_references(references, self.vectors_of(person), gallery, self._named_wrongly())

    def _named_wrongly(self) -> Counter[int]:
        """How many sightings that were judged wrong each reference named, by its id."""
        return Counter(
            one.reference for one in self.corrections() if one.judged == "wrong" and one.reference is not None
        )

    # --- people ------------------------------------------------------------------------------------------------

    def rename(self, person: str, new: str) -> Renamed:
        return self.ask(Rename(person, new))

    def merge(self, person: str, into: str) -> Renamed:
        """Merge `person` into the person `into`."""
        return self.ask(Merge(person, into))

    def undo_people(self) -> Renamed:
        """Undo the last rename or merge."""
        return self.ask(UndoPeople())

    def different_people(self) -> Iterator[tuple[str, str]]:
        """The names of all pairs of people who are remembered as different."""
        after = 0
        while page := self.ask(DifferentPeople(after, _ROWS_A_PAGE)).pairs:
            yield from ((one.person, one.other) for one in page)
            after = page[-1].number

    # --- strangers ---------------------------------------------------------------------------------------------

    def strangers(self) -> Iterator[Stranger]:
        """All people who were seen and are not enrolled, in the order of their ids."""
        after: str | None = None
        while page := self.ask(Strangers(after=after)).strangers:
            yield from page
            after = page[-1].id

    def stranger(self, stranger_id: str) -> Stranger:
        return self.ask(Strangers(id=stranger_id)).strangers[0]

    def forget_stranger(self, stranger_id: str) -> StrangerForgotten:
        return self.ask(ForgetStranger(stranger_id))

    def name_stranger(self, stranger_id: str, person: str) -> StrangerNamed:
        return self.ask(NameStranger(stranger_id, person))

    # --- sightings ---------------------------------------------------------------------------------------------

    def record(self, events: Sequence[object]) -> Recorded:
        """Store events, given as JSON documents."""
        return self.ask(Record(list(events)))

    def sightings(self, after_id: int = 0, since: str | None = None) -> Iterator[Sighting]:
        """The stored sightings, oldest first. `since`: ISO 8601, UTC."""
        while page := self.ask(Sightings(after_id, since, _SIGHTINGS_A_PAGE)).events:
            yield from page
            after_id = page[-1].id

    def last_sighting_id(self) -> int:
        """The highest id that any sighting was ever given."""
        return self.ask(Sightings(limit=0)).last_id

    # --- corrections -------------------------------------------------------------------------------------------

    def wrong(self, sighting: int) -> Judged:
        return self.ask(Wrong(sighting))

    def right(self, sighting: int, *, learn: bool = False) -> Judged:
        return self.ask(Right(sighting, learn))

    def undo_correction(self, sighting: int) -> Undone:
        return self.ask(UndoCorrection(sighting))

    def corrections(self) -> Iterator[Correction]:
        """All corrections, in the order of their sightings."""
        after = 0
        while page := self.ask(Corrections(after)).corrections:
            yield from page
            after = page[-1].sighting

    def forget_correction(self, sighting: int) -> CorrectionForgotten:
        return self.ask(ForgetCorrection(sighting))

    # --- the model ---------------------------------------------------------------------------------------------

    def info(self) -> GalleryInfo:
        return self.ask(Info())

    def stamp(self, model: ModelId) -> None:
        """Store which model made the embeddings."""
        self.ask(Stamp(model))

    def stage(
        self,
        references: Sequence[Reference],
        vectors: Vectors,
        fingerprint: str,
        turns: Sequence[float | None] = (),
    ) -> int:
        """Store embeddings of another model beside the active ones. Returns how many were stored. `vectors`: (n, dim) float32; `turns`: how
        far the heads are turned; empty: not known."""
        ids, changes = [one.id for one in references], [one.change_number or 0 for one in references]
        return self.ask(Stage(ids, changes, fingerprint, list(turns), vectors=vectors)).staged

    def unstage(self) -> None:
        self.ask(Unstage())

    def switch_model(self, model: ModelId, leave_out: Sequence[int]) -> Switched:
        return self.ask(SwitchModel(model, list(leave_out)))


class RunningSite(GalleryClient):
    """A running site. All changes go through its writer."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client = SiteClient(settings.run_dir)

    def ask(self, request: Request[Answer_co]) -> Answer_co:
        return self._client.ask(request)

    def _repeatable(self, rows: Sequence[NewReference]) -> list[NewReference]:
        uuids = new_uuids(len(rows))
        return [row if row.uuid else row._replace(uuid=one) for row, one in zip(rows, uuids, strict=True)]

    @contextmanager
    def batches(self, say: Say) -> Iterator[Iterator[Batch]]:  # noqa: ARG002  # a block has no damaged rows
        with GalleryReader(self._settings.run_dir) as reader:
            yield (
                Batch(piece.row_ids.tolist(), piece.names, [None] * len(piece.names), piece.references)
                for piece in reader.live_pieces()
            )

    @contextmanager
    def matching(self, say: Say) -> Iterator[Gallery]:  # noqa: ARG002  # as above
        with GalleryReader(self._settings.run_dir) as reader:
            yield reader

    def tail(self) -> Tail:
        with GalleryReader(self._settings.run_dir) as reader:
            return reader.tail

    def vectors_of(self, person: str) -> dict[int, NDArray[np.float32]]:
        """This process reads them from the file: those that are set aside are not in the block."""
        store = open_read_only(self._settings.db_path, unwritten=bool(self.info().nothing_stored))
        try:
            return vectors_of_person(store, person)
        finally:
            store.close()

    def backup_to(self, target: Path) -> None:
        store = open_read_only(self._settings.db_path, unwritten=bool(self.info().nothing_stored))
        try:
            copy_to(store, target)
        finally:
            store.close()

    def restore(self, staged: Path) -> Restored:
        return self.ask(Restore(staged.name))

    def check(self) -> list[str]:
        """This process reads the store and the block. The writer only answers `info` and goes on with its work."""
        return check_running(self._settings, self.info)

    def reload(self) -> bool:
        self._client.ask_to_reload()
        return True

    def close(self) -> None:
        self._client.close()


class FilesOfSite(GalleryClient):
    """The files of a site that does not run. They are open, under the site's lock, until `close`."""

    def __init__(
        self,
        settings: Settings,
        say: Say,
        *,
        lock_timeout_s: float = _LOCK_TIMEOUT_S,
        read_only_ok: bool = False,
        before_opening: Callable[[], None] = lambda: None,
    ) -> None:
        """`read_only_ok`: if the disk is full or read-only, open the store for reading only. Writes are then refused as temporary.
        `before_opening`: called under the lock before the store is opened.
        """
        make_private_folder(settings.data_dir)
        self._lock = SiteLock(settings.db_path)
        self._lock.acquire(lock_timeout_s)
        try:
            before_opening()
            self.store: Store
            self.store, without_room = (open_store_or_read_only if read_only_ok else _open)(settings.db_path, say)
        except BaseException:
            self._lock.release()
            raise
        try:
            self.service = StoreService(self.store, None, site=settings.site, data_dir=settings.data_dir, say=say)
            self.service.begin()
        except BaseException as error:
            self.close()
            if isinstance(error, sqlite3.Error):
                raise explain(error, settings.db_path) from error
            raise
        self.service.refusal = without_room
        self.store.sync_key = sync_key_or_none(settings, say)

    def ask(self, request: Request[Answer_co]) -> Answer_co:
        return self.service.ask(request)

    @contextmanager
    def batches(self, say: Say) -> Iterator[Iterator[Batch]]:
        yield sound_batches(self.store, say)

    @contextmanager
    def matching(self, say: Say) -> Iterator[Gallery]:
        rows = chain(sound_batches(self.store, say), negative_batches(self.store))
        yield MemoryGallery(rows, partial(user_id_of, self.store))

    def tail(self) -> Tail:
        return tail_of_batches(stored_batches(self.store))

    def vectors_of(self, person: str) -> dict[int, NDArray[np.float32]]:
        return vectors_of_person(self.store, person)

    def backup_to(self, target: Path) -> None:
        copy_to(self.store, target)

    def restore(self, staged: Path) -> Restored:
        return self.service.restore(staged)

    def check(self) -> list[str]:
        refusal = self.service.refusal
        return [*([refusal.line()] if refusal else []), *self.service.check()]

    def reload(self) -> bool:
        return False

    def close(self) -> None:
        try:
            close_store(self.store)
        finally:
            self._lock.release()


def _open(db_path: Path, say: Say) -> tuple[Store, TemporaryError | None]:
    return open_store(db_path, say), None


class SiteAccess:
    """`with SiteAccess(settings, say) as gallery:` opens the running site, or else its files."""

    def __init__(self, settings: Settings, say: Say, *, create: bool = False, read_only_ok: bool = False) -> None:
        """`create`: make a database if there is none. Without it, a missing database is a RefusedError. `read_only_ok`: see FilesOfSite."""
        self._settings, self._say, self._create, self._read_only_ok = settings, say, create, read_only_ok
        self._client: GalleryClient | None = None

    def __enter__(self) -> GalleryClient:
        deadline = time.monotonic() + _LOCK_TIMEOUT_S
        while True:
            try:
                self._client = self._open()
                return self._client
            except GalleryInUseError:
                # The lock may be held by a site that is starting. Soon it answers on its socket.
                if time.monotonic() >= deadline:
                    raise

    def _open(self) -> GalleryClient:
        if site_is_running(self._settings.run_dir):
            return RunningSite(self._settings)
        if not self._create and not self._settings.db_path.exists():
            raise RefusedError(
                "no gallery yet", where=str(self._settings.db_path), remedy="enrol somebody: supervisor.py enrol FOLDER"
            )
        return FilesOfSite(
            self._settings, self._say, lock_timeout_s=_SOCKET_CHECK_INTERVAL_S, read_only_ok=self._read_only_ok
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            self._client.close()
