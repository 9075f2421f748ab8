"""The one way into the gallery: requests in, answers out. The writer process uses it, and so does a command while no site runs.

Writes come in groups. For each group:
1. one transaction commits all its requests; a fault in one request undoes only that request;
2. the gallery block is published;
3. what was forgotten is erased;
4. then the requests are answered. So an acknowledged write is on disk and live.

What each request does is in the module of its subject: references, set_aside, people, strangers, sightings, corrections, model,
forgetting.
"""

from __future__ import annotations

import sqlite3
import traceback
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

from shared.errors import DamagedError, RefusedError, RollcallError, Say, UsageError
from shared.events import Sighting
from shared.gallery.publisher import GalleryPublisher
from shared.ipc.requests import strangers as stranger_requests
from shared.ipc.requests.accesses import Accesses, AccessesUsed, AddAccess, FindAccess, RevokeAccess, UseLink
from shared.ipc.requests.base import Answer, Answer_co, Request
from shared.ipc.requests.corrections import Corrections, ForgetCorrection, Right, UndoCorrection, Wrong
from shared.ipc.requests.forgetting import Forget
from shared.ipc.requests.gallery import GalleryInfo, Info, Restored
from shared.ipc.requests.model import Stage, Stamp, SwitchModel, Unstage
from shared.ipc.requests.people import Merge, People, Rename, UndoPeople
from shared.ipc.requests.references import (
    BringBack,
    Cosine,
    Count,
    Delete,
    FindCover,
    FindReferences,
    IsMarked,
    MarkReference,
    OneSided,
    References,
    RightReferences,
    Save,
    SetAside,
)
from shared.ipc.requests.review import (
    DifferentPeople,
    HeedStranger,
    IgnoreStranger,
    MarkDifferent,
    Review,
    UndoDifferent,
)
from shared.ipc.requests.sightings import FindCrop, FindSightings, Record, Sightings
from shared.ipc.requests.strangers import ForgetStranger, NameStranger
from shared.ipc.requests.sync import (
    BeginAnew,
    ChangeNews,
    CountUnshown,
    Exchanged,
    FromElsewhere,
    Outgoing,
    OutgoingPlain,
    OutgoingSightings,
    Resend,
    Sent,
    SentPlain,
    SentSightings,
    SetBack,
    SyncStatus,
    TakeIn,
    TakeInPlain,
)
from shared.progress import Progress
from shared.service.accesses import AccessRequests
from shared.service.changes import Changes
from shared.service.corrections import CorrectionRequests
from shared.service.forgetting import Forgetting
from shared.service.model import ModelRequests
from shared.service.negatives import negative_rows
from shared.service.people import PeopleRequests
from shared.service.publication import BlockKeeper
from shared.service.references import ReferenceRequests
from shared.service.review import ReviewRequests
from shared.service.right_references import RightReferenceRequests
from shared.service.set_aside import SetAsideRequests
from shared.service.sightings import Retention, SightingRequests
from shared.service.strangers import StrangerRequests
from shared.service.sync import SyncRequests
from shared.service.sync_plain import PlainSyncRequests
from shared.service.sync_sightings import SightingsUp
from shared.settings.schema import SiteSettings
from shared.store.check import store_faults
from shared.store.moves import finish_moves
from shared.store.opening import open_read_only
from shared.store.references import count_people, count_references
from shared.store.resemblance import Search
from shared.store.restoring import replace_from
from shared.store.set_aside import count_aside
from shared.store.sighting_crops import kept_crops
from shared.store.store import Store
from shared.store.unsound_rows import damaged_rows
from shared.strangers.strangers import Strangers

# What Python and SQLite's binding raise for arguments of the wrong shape or type.
_MALFORMED = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, RecursionError)
_ONE_REQUESTS_FAULT = (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.InterfaceError, sqlite3.DataError)

_Write = Callable[[Any, Changes], Answer]
_Read = Callable[[Any], Answer]
_Fact = TypeVar("_Fact")


class StoreService:
    """Carries out the requests on one open store. With a publisher, it also publishes every committed change."""

    def __init__(
        self, store: Store, publisher: GalleryPublisher | None, *, site: SiteSettings, data_dir: Path, say: Say
    ) -> None:
        """`publisher`: None in a command, which has no block. `say` prints or logs one line."""
        self.store, self._say, self._data_dir = store, say, data_dir
        self._strangers = Strangers(store, data_dir, site.keep_unknowns_days, say)
        self._block = None if publisher is None else BlockKeeper(store, publisher, say)
        self._sightings = SightingRequests(store, self._strangers, site, say)
        self._forgetting = Forgetting(store, self._strangers, self._sightings, data_dir, say)
        self._retention = Retention(store, self._strangers, site, say)
        self.refusal: RollcallError | None = None  # while this is set, every write is refused with it
        references, model = ReferenceRequests(store), ModelRequests(store, self._strangers)
        aside, right = SetAsideRequests(store, data_dir), RightReferenceRequests(store, data_dir)
        strangers, people = StrangerRequests(self._strangers, store), PeopleRequests(store, self._sightings)
        keep_days = site.keep_corrections_days
        corrections = CorrectionRequests(store, self._sightings, references, keep_days, self._published_search)
        review = ReviewRequests(store, self._strangers, self._published_search)
        access = AccessRequests(store)
        sync = SyncRequests(store, references, people, self._forgetting)
        plain, sightings_up = PlainSyncRequests(store, references), SightingsUp(store)
        self._writes: dict[type[Request[Any]], _Write] = {
            Save: references.save,
            Delete: references.delete,
            SetAside: aside.set_aside,
            BringBack: aside.bring_back,
            MarkReference: right.mark,
            Forget: sync.forget,
            ForgetStranger: self._forgetting.forget_stranger,
            NameStranger: strangers.name,
            MarkDifferent: review.mark_different,
            UndoDifferent: review.undo_different,
            IgnoreStranger: review.ignore,
            HeedStranger: review.heed,
            Record: self._sightings.record,
            Stage: model.stage,
            Unstage: model.unstage,
            SwitchModel: model.switch,
            Stamp: model.stamp,
            Rename: people.rename,
            Merge: people.merge,
            UndoPeople: people.undo,
            Wrong: corrections.wrong,
            Right: corrections.right,
            UndoCorrection: corrections.undo,
            ForgetCorrection: self._forgetting.forget_correction,
            AddAccess: access.add,
            UseLink: access.use_link,
            RevokeAccess: access.revoke,
            AccessesUsed: access.used,
            Outgoing: sync.outgoing,
            Sent: sync.sent,
            Resend: sync.resend,
            SetBack: sync.set_back,
            BeginAnew: sync.begin_anew,
            TakeIn: sync.take_in,
            TakeInPlain: plain.take_in,
            SentPlain: plain.sent,
            OutgoingSightings: sightings_up.outgoing,
            SentSightings: sightings_up.sent,
            Exchanged: sightings_up.exchanged,
        }
        self._reads: dict[type[Request[Any]], _Read] = {
            Count: references.count,
            People: references.people,
            References: references.references,
            FindReferences: references.found,
            FindCover: references.cover,
            RightReferences: right.listed,
            OneSided: references.one_sided,
            IsMarked: references.is_marked,
            Cosine: references.cosine,
            Sightings: self._sightings.listed,
            FindSightings: self._sightings.found,
            FindCrop: self._sightings.crop,
            stranger_requests.Strangers: strangers.listed,
            Review: review.listed,
            DifferentPeople: review.different,
            Corrections: corrections.listed,
            FindAccess: access.found,
            Accesses: access.listed,
            OutgoingPlain: plain.outgoing,
            CountUnshown: plain.count_unshown,
            SyncStatus: sync.state,
            FromElsewhere: model.from_elsewhere,
            Info: lambda _: self.info(),
        }

    def begin(self) -> None:
        """Finish what a killed process left undone. Call it once, after opening the store under the site's lock."""
        finish_moves(self.store, self._data_dir, self._say)
        self._forgetting.begin()
        self.purge()

    def _published_search(self) -> Search | None:
        """The search in the published gallery; None if there is none, or if it does not hold all that was committed."""
        return None if self._block is None else self._block.search

    # --- requests ----------------------------------------------------------------------------------------------

    def is_write(self, request: Request[Any]) -> bool:
        """Whether this request changes something."""
        return type(request) in self._writes

    def ask(self, request: Request[Answer_co]) -> Answer_co:
        """Carry out one request in a group of its own. Raises RollcallError."""
        if not self.is_write(request):
            return self.read(request)
        answer = self.write([request])[0]
        if isinstance(answer, RollcallError):
            raise answer
        return cast(Answer_co, answer)

    def read(self, request: Request[Answer_co]) -> Answer_co:
        """Answer a request that changes nothing. Raises RollcallError."""
        read = self._reads.get(type(request))
        if read is None:
            raise UsageError("this can only be asked of a running site", got=request.op)
        try:
            return cast(Answer_co, read(request))
        except (*_ONE_REQUESTS_FAULT, *_MALFORMED) as error:
            raise request_fault(request.op, error, self._say) from error
        except sqlite3.Error as error:
            raise self.store.explained(error) from error

    def write(self, group: Sequence[Request[Any]]) -> list[Answer | RollcallError]:
        """Carry out a group of requests in one transaction, and publish. Returns one answer for each request, in order.

        A request that fails alone has its error as its answer. If the whole transaction fails (a full disk), nothing was written, and
        every request has that error as its answer.
        """
        answers: list[Answer | RollcallError] = []
        changes = Changes()
        self._sightings.new = []
        if self.refusal is not None:
            return [self.refusal] * len(group)
        try:
            with self.store.transaction():
                for request in group:
                    answers.append(self._write_one(request, changes))
        except BaseException as error:
            self._sightings.new = []
            self._strangers.undo()
            if isinstance(error, RollcallError):
                return [error] * len(group)
            raise
        changes.doomed.append(self._strangers.settle())
        published = None if self._block is None else self._block.publish(changes)
        moved = finish_moves(self.store, self._data_dir, self._say) if changes.moves else None
        warnings = [line for line in (published, moved, *self._forgetting.finish(changes)) if line]
        return [
            answer
            if isinstance(answer, RollcallError)
            else self._forgetting.with_files_left(answer, changes).with_warnings(warnings)
            for answer in answers
        ]

    def _write_one(self, request: Request[Any], changes: Changes) -> Answer | RollcallError:
        mine, before, pictures = Changes(before=changes), len(self._sightings.new), self._strangers.pictures.mark()
        try:
            with self.store.savepoint():
                answer = self._writes[type(request)](request, mine)
                if mine.backup:
                    self._forgetting.note_backup()
        except Exception as error:  # any error becomes the answer of this one request
            if isinstance(error, sqlite3.Error) and not isinstance(error, _ONE_REQUESTS_FAULT):
                raise  # an error of the disk or the file: the whole group has failed
            del self._sightings.new[before:]
            self._strangers.undo(pictures)
            return request_fault(request.op, error, self._say)
        changes.take(mine)
        return answer

    @property
    def new_sightings(self) -> list[Sighting]:
        """The sightings that the last group of writes added."""
        return self._sightings.new

    @property
    def times_forgotten(self) -> int:
        """How many times a person or stranger was forgotten. If it rose while a backup was made, that backup must not be kept."""
        return self._forgetting.count

    # --- the whole gallery -------------------------------------------------------------------------------------

    def restore(self, file: Path) -> Restored:
        """Replace the references by those of a backup, except people deleted since. Raises RollcallError; then nothing has changed."""
        backup = open_read_only(file)
        try:
            faults = store_faults(backup)
        finally:
            backup.close()
        if faults:
            raise RefusedError("the backup is unsound", where=str(file), got=faults[0], remedy="use another backup")
        try:
            replaced = replace_from(self.store, file)
        except sqlite3.Error as error:
            raise self.store.explained(error) from error
        published = None if self._block is None else self._block.publish(Changes(republish=True))
        marks = (
            f"{replaced.marks_lost} deletions that the backup remembers were not taken over: they are marked with another site's key "
            "(marks.key)"
        )
        warnings = [line for line in (marks if replaced.marks_lost else None, published) if line]
        answer = Restored(restored=replaced.restored, kept_deleted=replaced.kept_deleted, set_aside=replaced.set_aside)
        return answer.with_warnings(warnings)

    def sightings_since(self, after_id: int, limit: int) -> list[Sighting]:
        """At most `limit` kept sightings with id > `after_id`, oldest first."""
        return self._sightings.since(after_id, None, limit)

    def change_news(self) -> ChangeNews:
        """Up to where the store has changed."""
        return ChangeNews(change_number=self.store.change_number, sighting=self.store.sightings.last_id())

    def info(self) -> GalleryInfo:
        """Model, counts, and the state of the block. A value that a damaged database can't give is None."""
        store, block = self.store, self._block
        crops = self._unless_damaged(partial(kept_crops, store))
        return GalleryInfo(
            model=self._unless_damaged(lambda: store.model),
            fingerprint=self._unless_damaged(lambda: store.fingerprint),
            dim=self._unless_damaged(lambda: store.dim),
            references=self._unless_damaged(partial(count_references, store)),
            set_aside=self._unless_damaged(partial(count_aside, store)),
            people=self._unless_damaged(partial(count_people, store)),
            change_number=self._unless_damaged(lambda: store.change_number),
            damaged_rows=self._unless_damaged(lambda: damaged_rows(store.connection)),
            generation=block.generation if block else None,
            published_rows=block.live_references if block else None,
            behind=block.behind if block else False,
            nothing_stored=self.refusal.line() if self.refusal else None,
            unreadable_sightings=len(store.sightings.unreadable),
            crops=crops.crops if crops else None,
            crop_bytes=crops.size_bytes if crops else None,
        )

    def _unless_damaged(self, fact: Callable[[], _Fact]) -> _Fact | None:
        try:
            return fact()
        except sqlite3.DatabaseError as error:
            if not isinstance(fault := self.store.explained(error), DamagedError):
                raise fault from error
            return None

    def check(self) -> list[str]:
        """What is unsound in the store and in the block, one line for each fault. Empty if both are sound and hold the same."""
        block = self._block.check() if self._block else []
        return store_faults(self.store) + self._forgetting.check() + self._strangers.check() + block

    # --- regular work ------------------------------------------------------------------------------------------

    def publish_everything(self, progress: Progress = lambda *_: None) -> None:
        """Load the whole store into a new generation. Raises NoRoomError, or RollcallError if the store can't be read."""
        assert self._block is not None  # only the writer calls this
        self._block.publish_everything(progress)

    def doubt_block(self) -> None:
        """Have the block made anew from the store, because not all that was committed may be published."""
        if self._block is not None:
            self._block.doubt()

    def purge(self, now: datetime | None = None, elapsed_s: float | None = None) -> None:
        """Delete what is kept no longer; see Retention.purge."""
        purged = self._retention.purge(now, elapsed_s)
        if purged.corrections and self._block is not None and self._block.is_published:
            self._block.publish(Changes(steps=[negative_rows(purged.corrections)], erase=True))
        if purged.anything:
            self._forgetting.empty_wal()  # until then the WAL still holds the deleted rows, and so do the file's pages

    def tick(self, now: float) -> None:
        """Retry what could not be done at once. `now`: time.monotonic()."""
        if self._block is not None:
            self._block.tick(now)
        self._forgetting.tick(now)


def request_fault(op: str, error: Exception, say: Say) -> RollcallError:
    """The answer to a request that raised `error`.

    An error that is a bug of ours is also logged: its type and where it was raised, but nothing of the request's contents.
    """
    if isinstance(error, RollcallError):
        return error
    if isinstance(error, (*_ONE_REQUESTS_FAULT, *_MALFORMED)):
        return UsageError(
            "not a request of this operation", where=op, got=f"{type(error).__name__}: {str(error)[:200]}"
        )
    where = "".join(traceback.format_tb(error.__traceback__)[-3:])
    say(f"the request {op} failed: {type(error).__name__}\n{where}")
    return RollcallError(
        "the request failed", where=op, got=type(error).__name__, remedy="see the journal; please report it"
    )
