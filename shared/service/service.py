"""What can be asked of the gallery: one operation a method, the same in the writer process and in a command without a site.

Writes come in groups: one transaction commits them all, the block is published, and only then is anybody answered. A fault in
one request undoes that request alone.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from shared.embeddings import unit_vector
from shared.errors import DamagedError, RefusedError, RollcallError, Say, UsageError
from shared.events import Event, Sighting
from shared.gallery.publisher import GalleryPublisher
from shared.person_names import name_of, new_name_of, text_of
from shared.presence import WITHIN_S, Presence
from shared.process.freed_arrays import overwrite_small_arrays
from shared.service.publication import BlockKeeper, Changes, Progress
from shared.service.request_values import vectors_of
from shared.service.strangers import StrangerRequests
from shared.store import erasure, leftovers, removals, staging
from shared.store.erasure import Kept, Left
from shared.store.opening import backup_path, open_read_only
from shared.store.restoring import replace_from
from shared.store.retention import ClockWatch
from shared.store.saving import NewReference, save
from shared.store.store import Deleted, Store
from shared.store.unsound_rows import damaged_rows
from shared.strangers.strangers import Strangers

_MAX_EVENTS = 5000
_MOST_COMPARED = 200  # references of a person who is forgotten, with the strangers who may be the same
_MOST_NAMED = 20  # photos, in a refusal
_ERASE_AGAIN_S = 1.0
_REMOVE_AGAIN_S = 60.0
_DROP_AGAIN_S = 15.0  # what is cached, after somebody was forgotten: cameras that had the name may still say it
_DROPS = 3
_CLOCK = "clock"  # a fact: what a trusted clock showed last
_BACKUP_BEHIND = "backup_behind"  # a fact: the site's own backup has yet to follow what was committed
_WAL_IS_READ = "somebody is reading the WAL; it is emptied as soon as they have done"
# What arguments of the wrong shape or type make Python and SQLite's binding raise.
_MALFORMED = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, RecursionError)
_ONE_REQUESTS_FAULT = (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.InterfaceError, sqlite3.DataError)


# Where somebody who is forgotten may still be, and only people can look.
OUT_OF_REACH = (
    "your own folders that photos were enrolled from",
    "the journal, the shell's history, and sudo's log, which has this command with the name",
    "backups that were copied elsewhere",
    "whoever was sent events or follows them",
)


@dataclass(frozen=True)
class Request:
    """One operation: its name, its JSON arguments, and raw little-endian float32 vectors where it has any."""

    op: str
    arguments: dict[str, Any]
    blob: bytes | memoryview = b""

    def __post_init__(self) -> None:
        if not isinstance(self.op, str) or not isinstance(self.arguments, dict):
            raise RefusedError(
                "not a request", got=repr(self.op)[:80], expected="an operation's name and its arguments"
            )


class StoreService:
    """The operations on one open store; with a publisher, every committed change is published too."""

    def __init__(
        self,
        store: Store,
        publisher: GalleryPublisher | None,
        *,
        site: str,
        data_dir: Path,
        keep_days: int,
        keep_unknowns_days: int = 0,
        say: Say,
    ) -> None:
        self.store = store
        self._strangers = Strangers(store, data_dir, keep_unknowns_days, say)
        self._ask_strangers = StrangerRequests(self._strangers, store)
        self._presence: Presence | None = None
        self._block = None if publisher is None else BlockKeeper(store, publisher, say)
        self._site, self._data_dir, self._keep_days, self._say = site, data_dir, keep_days, say
        self._erase_at: float | None = None
        self._drops_left, self._drop_at = 0, 0.0
        self._remove_at, self._complained_of = 0.0, 0
        self._keep_unknowns_days = keep_unknowns_days
        self._clock: ClockWatch | None = None
        self.new_events: list[Sighting] = []
        self.refusal: RollcallError | None = None  # while it is set no write is taken: this is the answer
        self.erasures = 0  # how many times somebody was forgotten: a backup begun before must not be kept
        self._writes: dict[str, Callable[[Request, Changes], dict[str, Any]]] = {
            "save": self._save,
            "delete": self._delete,
            "forget": self._forget,
            "record": self._record,
            "forget_stranger": self._forget_stranger,
            "name_stranger": self._name_stranger,
            "stage": self._stage,
            "unstage": self._unstage,
            "switch_model": self._switch_model,
            "stamp": self._stamp,
        }
        self._reads: dict[str, Callable[[Request], dict[str, Any]]] = {
            "count": lambda _: {"count": store.count()},
            "people": self._people,
            "references": self._references,
            "events": self._events,
            "strangers": lambda one: self._ask_strangers.listed(one.arguments),
            "info": lambda _: self.info(),
            "is_marked": self._is_marked,
            "cosine": self._cosine,
        }

    def is_write(self, op: str) -> bool:
        return op in self._writes

    def read(self, request: Request) -> dict[str, Any]:
        """Answer an operation that changes nothing. Raises RollcallError."""
        if request.op not in self._reads:
            raise UsageError(
                "no such operation", got=request.op, expected=", ".join(sorted({*self._reads, *self._writes}))
            )
        try:
            return self._reads[request.op](request)
        except (*_ONE_REQUESTS_FAULT, *_MALFORMED) as error:
            raise request_fault(request.op, error, self._say) from error
        except sqlite3.Error as error:
            raise self.store.explained(error) from error

    def write(self, requests: Sequence[Request]) -> list[dict[str, Any] | RollcallError]:
        """Carry out `requests` in one transaction and publish; an answer each, in order.

        A fault that spoils the whole transaction (a full disk) is everybody's answer: nothing was written.
        """
        answers: list[dict[str, Any] | RollcallError] = []
        changes = Changes()
        self.new_events = []
        if self.refusal is not None:
            return [self.refusal] * len(requests)
        try:
            with self.store.transaction():
                for request in requests:
                    answers.append(self._write_one(request, changes))
        except BaseException as error:
            self.new_events = []
            self._strangers.undo()
            if isinstance(error, RollcallError):
                return [error] * len(requests)
            raise
        changes.doomed.append(self._strangers.settle())
        warnings = [self._publish(changes), *self._finish_erasing(changes)]
        if any(warnings):
            answers = [one if isinstance(one, RollcallError) else _warned(one, warnings) for one in answers]
        return answers

    def _write_one(self, request: Request, changes: Changes) -> dict[str, Any] | RollcallError:
        mine, before, pictures = Changes(), len(self.new_events), self._strangers.pictures.mark()
        try:
            with self.store.savepoint():
                answer = self._writes[request.op](request, mine)
                if mine.backup:
                    self.store.set_fact(_BACKUP_BEHIND, "1")
        except Exception as error:  # one request: whatever is wrong with it is its own answer
            if isinstance(error, sqlite3.Error) and not isinstance(error, _ONE_REQUESTS_FAULT):
                raise  # of the disk or the file: everybody's
            del self.new_events[before:]
            self._strangers.undo(pictures)
            return request_fault(request.op, error, self._say)
        changes.take(mine)
        return answer

    def begin(self) -> None:
        """What a killed process left is finished: to be called once, by whoever has just opened the store under the site's lock."""
        backup = backup_path(self.store.path)
        if self.store.fact(_BACKUP_BEHIND) is not None:
            try:
                for copy in leftovers.copies_of_before(self.store.path):
                    copy.unlink()
                    self._say(f"{copy.name} was removed: somebody who was forgotten may be in it")
                backup.unlink(missing_ok=True)
            except OSError as error:  # a read-only disk: the site serves all the same, and the next start tries again
                self._say(f"{backup.name} may hold somebody who was forgotten, and can't be removed: {error.strerror}")
            else:
                self._say(
                    f"{backup.name} was removed: somebody who was forgotten may be in it; a new one comes within a day"
                )
                self._cross_off([], [])
        for line in leftovers.sweep(self.store.path):
            self._say(f"an unfinished copy of the gallery could not be removed: {line}")
        self.try_removals_again()
        self.purge()

    # --- references --------------------------------------------------------------------------------------------

    def _save(self, request: Request, changes: Changes) -> dict[str, Any]:
        given = request.arguments
        rows: list[dict[str, Any]] = given["rows"]
        vectors = vectors_of(request.blob, len(rows))
        self._require_fingerprint(given.get("fingerprint"))
        names = {name: new_name_of(name) for name in {row["person_name"] for row in rows}}
        references = [
            NewReference(
                names[row["person_name"]],
                row.get("image_path"),
                row.get("user_id"),
                row.get("uuid"),
                row.get("photo_digest"),
            )
            for row in rows
        ]
        for text in {text for one in references for text in one[1:]}:
            text_of(text)
        saved = save(self.store, references, vectors)
        if saved.row_ids:
            changes.steps.append((saved, references))
        return {"ids": saved.row_ids, "updated": sum(saved.replaced)}

    def _require_fingerprint(self, fingerprint: str | None) -> None:
        """Embeddings that say whose they are must be of the gallery's model: it can have been switched meanwhile."""
        known = self.store.fingerprint
        if fingerprint is not None and known not in (None, fingerprint):
            raise RefusedError(
                "embeddings of another model",
                got=str(fingerprint)[:12],
                expected=f"{self.store.model} ({known[:12]}…)" if known else "",
                remedy="try again with the gallery's model; see: supervisor.py models",
            )

    def _delete(self, request: Request, changes: Changes) -> dict[str, Any]:
        deleted = self.store.delete(
            name_of(request.arguments["person_name"]), text_of(request.arguments.get("image_path"))
        )
        changes.steps.append(deleted.row_ids)
        return {"deleted": len(deleted.row_ids)}

    def _forget(self, request: Request, changes: Changes) -> dict[str, Any]:
        """Whoever was forgotten already is forgotten: a repeated request, also of a client that lost its answer, is done."""
        person, photo = name_of(request.arguments["person"]), text_of(request.arguments.get("photo"))
        if photo is not None:
            return self._forget_photo(person, photo, changes)
        spellings = self.store.spellings(person)
        already = self.store.is_marked(person)
        rows = [row for one in spellings for row in self.store.references(one, limit=_MOST_COMPARED)]
        if rows:
            self._strangers.forget_like(np.stack([self.store.vector(row["id"]) for row in rows]))
        deleted = self.store.forget(person)
        self._presence = None  # it is made anew from the sightings that are left
        kept = erasure.kept_of_person(self._data_dir, self.store, person, deleted.image_paths)
        found = bool(deleted.row_ids or deleted.sightings or deleted.left_out or kept)
        if not (found or already):
            raise RefusedError("nobody of that name", where=person, remedy="see: supervisor.py people")
        changes.backup.append(lambda backup: backup.forget(person))
        changes.forgotten.append((person, None))
        answer = {"person": person, "spelt_otherwise": spellings[1:], "sightings": deleted.sightings}
        return self._forgotten(answer, deleted, kept, changes, already=already and not found)

    def _forget_photo(self, person: str, photo: str, changes: Changes) -> dict[str, Any]:
        path = erasure.photo_named(self._data_dir, self.store, person, photo)
        if path is None:
            if not erasure.was_deleted(self._data_dir, self.store, person, photo):
                known = erasure.photos_of(self.store, person)
                raise RefusedError(
                    "no such photo of that person",
                    where=person,
                    got=photo,
                    expected="one of " + (", ".join(known[:_MOST_NAMED]) or "none"),
                    remedy="name one of those",
                )
            deleted, kept = Deleted([], []), Kept()
        else:
            named, digest = path, erasure.kept_digest(self._data_dir, person, path)
            deleted = self.store.delete(person, named, digest)
            self.store.mark_photo(person, named)
            kept = erasure.kept_photo(self._data_dir, self.store, person, named)
            changes.backup.append(lambda backup: backup.delete(person, named, digest))
            changes.forgotten.append((person, named))
        answer = {"person": person, "sightings": deleted.sightings}
        return self._forgotten(answer, deleted, kept, changes, already=path is None)

    def _forgotten(
        self, answer: dict[str, Any], deleted: Deleted, kept: Kept, changes: Changes, *, already: bool
    ) -> dict[str, Any]:
        changes.steps.append(deleted.row_ids)
        changes.doomed.append(kept)
        removals.note_removals(self.store, self._data_dir, kept)
        self._erase(changes)
        answer |= {"references": len(deleted.row_ids), "photos": len(kept.photos), "already": already}
        return self._promise(answer, [*kept.photos, *kept.folders], changes)

    def _promise(self, answer: dict[str, Any], files: Sequence[Path], changes: Changes) -> dict[str, Any]:
        """Have the answer tell, once everything is done, which of these files are left, and what else may hold whoever is forgotten."""
        changes.promised.append((answer, files))
        answer |= {"other_copies": leftovers.other_copies(self.store.path), "out_of_reach": list(OUT_OF_REACH)}
        return answer

    def _erase(self, changes: Changes) -> None:
        """Somebody is forgotten: nothing of theirs may stay in the file's free space, in the WAL or in a copy being made."""
        changes.erase = True
        self.store.want_remains_erased()
        self.erasures += 1

    # --- strangers ---------------------------------------------------------------------------------------------

    def _forget_stranger(self, request: Request, changes: Changes) -> dict[str, Any]:
        answer, kept = self._ask_strangers.forget(request.arguments["id"], changes)
        self._erase(changes)
        return self._promise(answer, kept.photos, changes)

    def _name_stranger(self, request: Request, changes: Changes) -> dict[str, Any]:
        answer = self._ask_strangers.name(request.arguments["id"], new_name_of(request.arguments["person"]), changes)
        self.erasures += 1  # a backup begun before would not know whose the sightings are
        return answer

    # --- sightings ---------------------------------------------------------------------------------------------

    def _record(self, request: Request, changes: Changes) -> dict[str, Any]:  # noqa: ARG002  # sightings don't change the block
        presence = self._presence = self._presence or self._who_is_here()
        given: list[object] = list(request.arguments["events"])
        sound, faults = [], []
        for document in given:
            try:
                sound.append(Event.from_json(document))
            except RefusedError as error:
                faults.append(error.what)
        if given and not sound:
            raise RefusedError("no sighting can be kept", got=faults[0])
        kept = self.store.sightings.record(sound, self._site, self._strangers, presence)
        self.new_events += kept
        return {"recorded": len(kept), "refused": faults}

    def _who_is_here(self) -> Presence:
        """What the last minutes' sightings tell: also a writer that takes another's place knows who was seen where."""
        presence = Presence()
        since = (datetime.now(UTC) - timedelta(seconds=WITHIN_S)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        for event in self.store.sightings.since(since=since, limit=_MAX_EVENTS):
            presence.take(event)
        return presence

    def purge(self, now: datetime | None = None, elapsed_s: float | None = None) -> None:
        """Delete sightings, strangers and marks past their time, where the clock can be trusted; on a full disk they wait.

        `now`, `elapsed_s`: as for ClockWatch.trusts; None: this machine's.
        """
        now = now or datetime.now(UTC)
        self._clock = self._clock or ClockWatch(self._known_clock())
        trusted = self._clock.trusts(now, _elapsed_s() if elapsed_s is None else elapsed_s)
        deleted = 0
        try:
            with self.store.transaction():
                if trusted or not self._keep_days:  # what is not to be kept at all needs no clock
                    deleted += self.store.sightings.purge(self._keep_days, now)
                if trusted or not self._keep_unknowns_days:
                    deleted += self._strangers.purge(now)
                if trusted:
                    deleted += self.store.drop_old_marks(now)
                    self._note_clock(now)
                pictures = self._strangers.mend()
        except RollcallError as error:
            self._strangers.undo()
            self._say(f"old sightings could not be deleted: {error.line()}")
            return
        for one in erasure.remove(self._strangers.settle()):
            self._say(f"could not be removed: {one.path}: {one.reason}")
        self._strangers.pictures.sweep(pictures)
        if deleted:
            self._empty_wal()  # until then they are in the WAL, and in the file's pages as they were

    def _note_clock(self, now: datetime) -> None:
        """Once an hour, what a trusted clock shows: a later start compares its own with it."""
        known = self.store.fact(_CLOCK)
        if known is None or not timedelta(0) <= now - datetime.fromisoformat(known) < timedelta(hours=1):
            self.store.set_fact(_CLOCK, now.isoformat())

    def _known_clock(self) -> datetime | None:
        known = self.store.fact(_CLOCK)
        if known is not None:
            return datetime.fromisoformat(known)
        if not self.store.sightings.first_id() and not self._strangers.listed(limit=1):
            return datetime.now(UTC)  # nothing is kept that a wrong clock could delete
        return self.store.sightings.last_recorded()

    # --- the model ---------------------------------------------------------------------------------------------

    def _stage(self, request: Request, changes: Changes) -> dict[str, Any]:  # noqa: ARG002  # staged rows are not published
        given = request.arguments
        vectors = vectors_of(request.blob, len(given["ids"]))
        return {"staged": staging.stage(self.store, given["ids"], given["changes"], vectors, given["fingerprint"])}

    def _unstage(self, request: Request, changes: Changes) -> dict[str, Any]:  # noqa: ARG002  # as above
        staging.unstage(self.store)
        return {}

    def _switch_model(self, request: Request, changes: Changes) -> dict[str, Any]:
        """Switch when only the references in `leave_out` were not staged; otherwise say which were not, and change nothing."""
        given = request.arguments
        waiting = sorted({*staging.not_staged(self.store, given["fingerprint"])} - {*given["leave_out"]})
        if waiting:
            return {"switched": False, "not_staged": waiting}
        left_out = staging.switch_model(self.store, given["model"], given["fingerprint"], int(given["dim"]))
        changes.republish = True
        answer: dict[str, Any] = {"switched": True, "references": self.store.count(), "left_out": left_out}
        if strangers := self._strangers.of_model_only(given["fingerprint"]):
            answer["warning"] = (
                f"{strangers} strangers were dropped: the new model can't know them by the old one's embeddings"
            )
        return answer

    def _stamp(self, request: Request, changes: Changes) -> dict[str, Any]:
        given = request.arguments
        dim = self.store.dim
        if dim is not None and dim != int(given["dim"]) and self.store.count():
            raise RefusedError(
                "a model of another dimension",
                got=given["dim"],
                expected=str(dim),
                remedy="models use NAME embeds anew",
            )
        self.store.stamp(name_of(given["model"]), name_of(given["fingerprint"]), int(given["dim"]))
        self._strangers.of_model_only(given["fingerprint"])
        changes.republish = True
        return {}

    # --- the whole gallery -------------------------------------------------------------------------------------

    def restore(self, file: Path) -> dict[str, Any]:
        """Take the references of a backup, but for people deleted since. Raises RollcallError, nothing changed then."""
        backup = open_read_only(file)
        try:
            faults = backup.check()
        finally:
            backup.close()
        if faults:
            raise RefusedError("the backup is unsound", where=str(file), got=faults[0], remedy="use another backup")
        try:
            answer = replace_from(self.store, file)
        except sqlite3.Error as error:
            raise self.store.explained(error) from error
        warning = self._publish(Changes(republish=True))
        return {**answer, "warning": warning} if warning else answer

    # --- reads -------------------------------------------------------------------------------------------------

    def _people(self, request: Request) -> dict[str, Any]:
        return {"people": self.store.people(request.arguments.get("after"), request.arguments.get("limit"))}

    def _references(self, request: Request) -> dict[str, Any]:
        given = request.arguments
        return {"references": self.store.references(given.get("person"), given.get("after_id"), given.get("limit"))}

    def _events(self, request: Request) -> dict[str, Any]:
        given = request.arguments
        limit = min(int(given.get("limit", 1000)), _MAX_EVENTS)
        found = self.events_since(int(given.get("after_id", 0)), given.get("since"), limit)
        return {"events": [one.to_json() for one in found], "last_id": self.store.sightings.last_id()}

    def events_since(self, after_id: int, since: str | None, limit: int) -> list[Sighting]:
        """Kept sightings, oldest first. Rows that can't be read are passed over, and each is said once."""
        sightings = self.store.sightings
        known = set(sightings.unreadable)
        found = sightings.since(after_id, since, limit)
        if new := sightings.unreadable - known:
            self._say(f"{len(new)} stored sightings can't be read and are passed over, the first is number {min(new)}")
        return found

    def _is_marked(self, request: Request) -> dict[str, Any]:
        return {"marked": self.store.is_marked(request.arguments["person"], request.arguments.get("photo_digest"))}

    def _cosine(self, request: Request) -> dict[str, Any]:
        """How alike a stored reference and the vector sent are."""
        stored = self.store.vector(int(request.arguments["id"]))
        probe = unit_vector(np.frombuffer(request.blob, "<f4"), "probe")
        if len(stored) != len(probe):
            raise RefusedError("an embedding of another model", got=len(probe), expected=str(len(stored)))
        return {"cosine": float(stored @ probe)}

    def info(self) -> dict[str, Any]:
        """What the gallery is: model, counts, the block's state. Where the database is too damaged to tell, its part is null."""
        store, block = self.store, self._block
        facts: dict[str, Callable[[], Any]] = {
            "model": lambda: store.model,
            "fingerprint": lambda: store.fingerprint,
            "dim": lambda: store.dim,
            "references": store.count,
            "people": store.people_count,
            "change_number": lambda: store.change_number,
            "damaged_rows": lambda: damaged_rows(store.connection),
        }
        return {
            **{name: self._unless_damaged(fact) for name, fact in facts.items()},
            "generation": block.generation if block else None,
            "published_rows": block.live_rows if block else None,
            "behind": block.behind if block else False,
            "nothing_stored": self.refusal.line() if self.refusal else None,
            "unreadable_sightings": len(store.sightings.unreadable),
        }

    def _unless_damaged(self, fact: Callable[[], Any]) -> Any:
        try:
            return fact()
        except sqlite3.DatabaseError as error:
            if not isinstance(fault := self.store.explained(error), DamagedError):
                raise fault from error
            return None

    def check(self) -> list[str]:
        """Everything unsound in the store and in the block; empty when both are sound and agree."""
        pending = [
            f"{path}: of somebody who was forgotten, and can't be removed" for path in removals.pending(self.store)
        ]
        return self.store.check() + pending + self._strangers.check() + (self._block.check() if self._block else [])

    # --- what comes after a commit -----------------------------------------------------------------------------

    def publish_everything(self, progress: Progress = lambda *_: None) -> None:
        """Load the whole store into a new generation. Raises NoRoomError or what the load raises."""
        assert self._block is not None  # only a writer calls this
        self._block.publish_everything(progress)

    def tick(self, now: float) -> None:
        """What has to be done from time to time: what could not be done at once."""
        if self._block is not None:
            self._block.tick(now)
        if self._erase_at is not None and now >= self._erase_at:
            self._empty_wal()
        if self._drops_left and now >= self._drop_at:
            self._drop_what_is_cached(now)
        if now >= self._remove_at:
            self._remove_at = now + _REMOVE_AGAIN_S
            self.try_removals_again()

    def try_removals_again(self) -> None:
        """Remove what could not be removed when somebody was forgotten."""
        if not removals.pending(self.store):
            return
        done, left = removals.try_again(self.store, self._data_dir)
        if done and self._cross_off([done], []):
            self._say(f"{len(done.photos)} files of somebody who was forgotten are gone now")
            self._erase_remains()
            self._empty_wal()
        self._complain_of(left)

    def _complain_of(self, left: Sequence[Left]) -> None:
        """Without the paths: a person's name is in them, and this goes to the journal."""
        if len(left) != self._complained_of:
            self._complained_of = len(left)
            if left:
                self._say(
                    f"{len(left)} files of somebody who was forgotten can't be removed ({left[0].reason}); tried again every "
                    "minute. Which: supervisor.py check"
                )

    def doubt_block(self) -> None:
        """What was committed may not be published whole: the block is made anew from the store."""
        if self._block is not None:
            self._block.doubt()

    def _publish(self, changes: Changes) -> str | None:
        return None if self._block is None else self._block.publish(changes)

    def _finish_erasing(self, changes: Changes) -> list[str]:
        """Once a deletion is committed: no row of it in the backup or the WAL, no photo of it on disk. What is left to do, one line each."""
        left = [one for kept in changes.doomed for one in erasure.remove(kept)]
        warnings = []
        if changes.erase:
            warnings += [f"could not be removed: {line}" for line in leftovers.sweep(self.store.path)]
        if changes.backup:
            erasure.change_backup(backup_path(self.store.path), changes.backup, self._say, erase=changes.erase)
        if changes.forgotten:
            erasure.change_copies_of_before(self.store.path, changes.forgotten, self._say)
        if changes.promised or changes.backup or left:
            self._cross_off(changes.doomed, left)
        if changes.erase:
            self.try_removals_again()
        for answer, files in changes.promised:
            stays = [path for path in files if os.path.lexists(path)]
            answer["photos"] -= sum(not path.is_dir() for path in stays)
            answer["not_removed"] = [str(path) for path in stays]
        self._complain_of(left)
        if changes.erase:
            warnings += filter(None, [self._erase_remains(), None if self._empty_wal() else _WAL_IS_READ])
            self._drops_left = _DROPS
            self._drop_what_is_cached(time.monotonic())
        return warnings

    def _cross_off(self, doomed: Sequence[Kept], left: Sequence[Left]) -> bool:
        """Note what is done; on a full disk it is noted by the next try."""
        try:
            with self.store.transaction():
                removals.cross_off(self.store, self._data_dir, doomed, left)
                self.store.drop_fact(_BACKUP_BEHIND)
        except RollcallError as error:
            self._say(f"that files are gone could not be noted: {error.line()}")
            return False
        return True

    def _erase_remains(self) -> str | None:
        """Overwrite what SQLite left of the deleted rows; why not, when not now."""
        if self.store.path.stat().st_size > erasure.AT_ONCE_BYTES:
            return "the file is large: what is left in its free space is overwritten at the next start of the site"
        try:
            self.store.erase_remains()
        except RollcallError as error:
            fault = error.line()
            self._say(f"remains of a deletion are overwritten at the next start of the site: {fault}")
            return f"what is left in the file's free space is overwritten at the next start of the site: {fault}"
        return None

    def _drop_what_is_cached(self, now: float) -> None:
        """Have nothing of somebody who was forgotten in what SQLite and numpy keep for the next use; some times, as `tick` asks."""
        self._drops_left, self._drop_at = self._drops_left - 1, now + _DROP_AGAIN_S
        self.store.drop_what_is_cached()
        overwrite_small_arrays()

    def _empty_wal(self) -> bool:
        """Empty the WAL, or be asked again by `tick` until that works."""
        try:
            done = self.store.truncate_wal()
        except sqlite3.Error as error:
            self._say(self.store.explained(error).line())
            done = False
        self._erase_at = None if done else time.monotonic() + _ERASE_AGAIN_S
        return done


def _elapsed_s() -> float:
    """Seconds that nobody sets; on Linux they go on while the machine sleeps, as the wall clock does."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if sys.platform == "linux" else time.monotonic()


def _warned(answer: dict[str, Any], warnings: Iterable[str | None]) -> dict[str, Any]:
    """An answer with what else its reader should know, beside what it says already."""
    return {**answer, "warning": "; ".join(filter(None, [answer.get("warning"), *warnings]))}


def request_fault(op: str, error: Exception, say: Say) -> RollcallError:
    """What to answer to a request that raised `error`. What is our fault is said too, without anything that was asked."""
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
