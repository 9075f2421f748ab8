"""What forgetting a person, a photo or a stranger removes, and in which order.

In the transaction, for a person:
1. delete the strangers who look like this person, with their sightings (`Strangers.forget_like`), and the corrections and probes whose
   face looks like this person (`corrections.forget_like`);
2. delete the rows of the person in every spelling of the name: references, sightings with their crops, corrections and probes, damaged
   rows in `left_out`; and the crops of all probes and strangers that went. A deletion mark stays, so that no old folder or backup
   brings the person back;
3. note which photos and folders in data/faces are to be removed;
4. note that the free space of the database file is to be overwritten, where SQLite leaves remains.
For one photo: delete its references, leave a mark, note its file. For a stranger: delete rows and sightings, and what looks like them,
note the pictures. For a correction: delete it and the sighting's probe.

After the commit:
5. make the rows in the gallery block dead and overwrite them (publication.py);
6. remove the files: photos, crops, folders;
7. remove unfinished copies of the gallery; forget the person in the site's own backup and in the copies that migrations left;
8. cross off the removed files from the list of 3;
9. overwrite the remains in the database file, empty the WAL, drop caches;
10. answer: what could not be removed, and what only people can reach.

If the process is killed during 6 to 9, the rest is done at the next start (`begin`), and retried while the site runs (`tick`).
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.errors import RefusedError, RollcallError, Say
from shared.events import stranger_id, stranger_number
from shared.ipc.requests.base import Answer
from shared.ipc.requests.corrections import CorrectionForgotten, ForgetCorrection
from shared.ipc.requests.forgetting import Forget, Forgotten
from shared.ipc.requests.strangers import ForgetStranger, StrangerForgotten
from shared.person_names import name_key, name_of, text_of
from shared.photos.kept import Kept, Left, kept_digest, kept_of_person, kept_photo, remove
from shared.process.freed_arrays import overwrite_small_arrays
from shared.service.changes import Changes
from shared.service.negatives import negative_rows
from shared.service.sightings import SightingRequests
from shared.service.strangers import no_such_stranger
from shared.store import corrections, erasure, leftovers, removals
from shared.store.corrections import Gone
from shared.store.marks import is_marked, mark_photo
from shared.store.moves import drop_moves
from shared.store.opening import backup_path
from shared.store.references import (
    Deleted,
    StoredPhotoRows,
    delete_learned,
    delete_references,
    forget_person,
    image_path_of,
    list_references,
    names_of,
    spellings_of,
    vectors_of,
)
from shared.store.set_aside import count_in_use
from shared.store.sighting_crops import drop_lost_crops
from shared.store.sighting_probes import forget_probe
from shared.store.store import Store
from shared.strangers.strangers import Strangers

_MAX_COMPARED = 200  # references of a forgotten person that are compared with strangers, corrections and probes
_MAX_NAMED = 20  # photos listed in a refusal
_ERASE_AGAIN_S = 1.0
_REMOVE_AGAIN_S = 60.0
# Caches are dropped again some times after somebody was forgotten: events of cameras that had the name can still bring it in.
_DROP_AGAIN_S = 15.0
_DROPS = 3
_BACKUP_BEHIND = "backup_behind"  # a fact in the store: the site's own backup does not have all committed changes yet
_WAL_IS_READ = "another process is reading the WAL; it is emptied as soon as that has ended"

# Where a forgotten person may still be found. Rollcall can't reach these places; people can.
OUT_OF_REACH = (
    "your own folders that photos were enrolled from",
    "the journal, the shell's history, and sudo's log, which has this command with the name",
    "backups that were copied elsewhere",
    "people and programs that were sent events or follow them",
)


class Forgetting:
    """Forgets people, photos and strangers of one store, and does the work that follows a deletion."""

    def __init__(
        self, store: Store, strangers: Strangers, sightings: SightingRequests, data_dir: Path, say: Say
    ) -> None:
        self._store, self._strangers, self._sightings = store, strangers, sightings
        self._data_dir, self._say = data_dir, say
        self._erase_at: float | None = None
        self._drops_left, self._drop_at = 0, 0.0
        self._remove_at, self._complained_of = 0.0, 0
        self.count = (
            0  # how often somebody was forgotten; if it rises while a backup is made, that backup must not be kept
        )

    # --- in the transaction ------------------------------------------------------------------------------------

    def forget(self, request: Forget, changes: Changes) -> Forgotten:
        """Forget a person, or one photo of theirs.

        A repeated request is answered as done already: a client that lost its answer may ask again. Raises RefusedError if there is no
        such person or photo, and never was.
        """
        person, photo = name_of(request.person), text_of(request.photo)
        return self._forget_person(person, changes) if photo is None else self._forget_photo(person, photo, changes)

    def forget_known(self, person: str, changes: Changes) -> None:
        """Forget a person who was forgotten at another site."""
        self._forget_person(person, changes, is_known=True)

    def forget_reference(self, row_id: int, person: str, changes: Changes) -> None:
        """Forget one reference, and its photo."""
        path = image_path_of(self._store, row_id)
        if path is not None:
            self._forget_photo(person, path, changes)
            return
        delete_learned(self._store, row_id, person)
        changes.steps.append([row_id])
        changes.backup.append(lambda backup: delete_learned(backup, row_id, person))
        self._note_erasure(changes)

    def _forget_person(self, person: str, changes: Changes, *, is_known: bool = False) -> Forgotten:
        store = self._store
        spellings, was_marked = spellings_of(store, person), is_marked(store, person)
        former = [name for name in names_of(store, person) if name not in spellings]
        vectors = vectors_of(store, spellings, _MAX_COMPARED)
        self._strangers.forget_like(vectors)
        like, own = self._forget_corrections_like(vectors, changes), corrections.forget_of(store, person)
        changes.steps.append(negative_rows(own.corrections))
        judged = Gone([*like.corrections, *own.corrections], like.probes + own.probes)
        deleted = forget_person(store, person, is_known=is_known)
        drop_lost_crops(store)
        self._sightings.forget_presence()
        kept = kept_of_person(self._data_dir, StoredPhotoRows(store), person, deleted.image_paths)
        kept.photos.extend(drop_moves(store, self._data_dir, lambda place: _is_of(place, person)))
        found = bool(deleted.row_ids or deleted.sightings or deleted.left_out or kept or any(judged))
        if not (found or was_marked):
            raise RefusedError("nobody of that name", where=person, remedy="see: supervisor.py people")
        changes.backup.append(lambda backup: forget_person(backup, person))
        changes.forgotten += [(name, None) for name in (person, *former)]
        return self._forgotten(person, spellings[1:], deleted, kept, judged, changes, already=not found)

    def _forget_corrections_like(self, vectors: NDArray[np.float32], changes: Changes) -> Gone:
        """Delete corrections and probes of this face, in the backup, too. `vectors` (n, dim), unit L2 norm."""
        gone = corrections.forget_like(self._store, vectors)
        changes.steps.append(negative_rows(gone.corrections))
        changes.backup.append(lambda backup: corrections.forget_like(backup, vectors))
        return gone

    def _forget_photo(self, person: str, photo: str, changes: Changes) -> Forgotten:
        store = self._store
        path = erasure.photo_named(self._data_dir, store, person, photo)
        if path is None:
            self._require_deleted(person, photo)
            return self._forgotten(person, [], Deleted([], []), Kept(), Gone(), changes, already=True)
        digest = kept_digest(self._data_dir, person, path)
        deleted = delete_references(store, person, path, digest)
        mark_photo(store, person, path)
        kept = kept_photo(self._data_dir, StoredPhotoRows(store), person, path)
        kept.photos.extend(drop_moves(store, self._data_dir, lambda place: place == path))
        changes.backup.append(lambda backup: delete_references(backup, person, path, digest))
        changes.forgotten.append((person, path))
        return self._forgotten(person, [], deleted, kept, Gone(), changes, already=False, warning=self._unused(person))

    def _unused(self, person: str) -> str | None:
        """A warning if all references that the person still has are set aside."""
        if not list_references(self._store, person, limit=1) or count_in_use(self._store, person):
            return None
        return (
            f"{person} is not recognised any more: all other references are set aside; to bring one back: supervisor.py people "
            f"'{person}' --references, then --restore"
        )

    def _require_deleted(self, person: str, photo: str) -> None:
        if erasure.was_deleted(self._data_dir, self._store, person, photo):
            return
        known = erasure.photos_of(self._store, person)
        raise RefusedError(
            "no such photo of that person",
            where=person,
            got=photo,
            expected="one of " + (", ".join(known[:_MAX_NAMED]) or "none"),
            remedy="name one of those",
        )

    def _forgotten(
        self,
        person: str,
        others: list[str],
        deleted: Deleted,
        kept: Kept,
        judged: Gone,
        changes: Changes,
        *,
        already: bool,
        warning: str | None = None,
    ) -> Forgotten:
        changes.steps.append(deleted.row_ids)
        removals.note_removals(self._store, self._data_dir, kept)
        self._note_erasure(changes)
        answer = Forgotten(
            person=person,
            spelt_otherwise=others,
            references=len(deleted.row_ids),
            photos=len(kept.photos),
            sightings=deleted.sightings,
            corrections=len(judged.corrections),
            probes=judged.probes,
            already=already,
            other_copies=leftovers.other_copies(self._store.path),
            out_of_reach=list(OUT_OF_REACH),
            warning=warning,
        )
        changes.doomed.append(kept)
        changes.promised.append((answer, [*kept.photos, *kept.folders]))
        return answer

    def forget_stranger(self, request: ForgetStranger, changes: Changes) -> StrangerForgotten:
        """Forget a stranger. One that is gone already is answered as done. Raises RefusedError for an id that was never given out."""
        number = stranger_number(request.id)
        kept = Kept(self._strangers.pictures.of(number))
        known = self._strangers.is_kept(number)
        judged = self._forget_corrections_like(self._strangers.vectors_of(number), changes)
        self._strangers.forget(number)
        sightings = self._store.sightings.forget_stranger(number)
        drop_lost_crops(self._store)
        if not (known or sightings or self._strangers.was_met(number)):
            raise no_such_stranger(number)
        changes.backup.append(
            lambda backup: erasure.knows_strangers(backup) and backup.sightings.forget_stranger(number)
        )
        self._note_erasure(changes)
        answer = StrangerForgotten(
            unknown=stranger_id(number),
            photos=len(kept.photos),
            sightings=sightings,
            corrections=len(judged.corrections),
            probes=judged.probes,
            already=not (known or sightings or kept),
            other_copies=leftovers.other_copies(self._store.path),
            out_of_reach=list(OUT_OF_REACH),
        )
        changes.doomed.append(kept)
        changes.promised.append((answer, kept.photos))
        return answer

    def forget_correction(self, request: ForgetCorrection, changes: Changes) -> CorrectionForgotten:
        """Forget the face of a sighting: its correction and its probe. If there is neither, that is answered as done.

        Raises RefusedError for an id that was never given out.
        """
        sighting = request.sighting
        if not 0 < sighting <= self._store.sightings.last_id():
            raise RefusedError("no such event", where=f"event {sighting}", remedy="see: supervisor.py wrong --list")
        known = corrections.correction_of(self._store, sighting)
        removed = corrections.remove_corrections(self._store, [sighting])
        probes = forget_probe(self._store, sighting)
        drop_lost_crops(self._store)
        changes.steps.append(negative_rows(removed))
        changes.backup.append(lambda backup: corrections.remove_corrections(backup, [sighting]))
        if known is not None:
            self._sightings.tell_correction(known, "undone")
        self._note_erasure(changes)
        return CorrectionForgotten(
            sighting=sighting,
            already=not (removed or probes),
            other_copies=leftovers.other_copies(self._store.path),
            out_of_reach=list(OUT_OF_REACH),
        )

    def _note_erasure(self, changes: Changes) -> None:
        """Note that the file's free space and the WAL have to be erased, and that a copy being made must not be kept."""
        changes.erase = True
        self._store.want_remains_erased()
        self.count += 1

    def note_backup(self) -> None:
        """Note in the same transaction that the site's own backup does not have this change yet."""
        self._store.set_fact(_BACKUP_BEHIND, "1")

    # --- after the commit, when the block is published -----------------------------------------------------------

    def finish(self, changes: Changes) -> list[str]:
        """Do steps 6 to 9: files, copies, remains, WAL, caches. Returns what is left to do, one line each."""
        left = [failed for kept in changes.doomed for failed in remove(kept)]
        warnings = []
        if changes.erase:
            warnings += [f"could not be removed: {line}" for line in leftovers.sweep(self._store.path)]
        if changes.backup:
            erasure.change_backup(backup_path(self._store.path), changes.backup, self._say, erase=changes.erase)
        if changes.forgotten:
            erasure.change_copies_of_before(self._store.path, changes.forgotten, self._say)
        if changes.promised or changes.backup or left:
            self._cross_off(changes.doomed, left)
        if changes.erase:
            self._remove_pending()
        self._complain_of(left)
        if changes.erase:
            remains, wal = self._erase_remains(), None if self.empty_wal() else _WAL_IS_READ
            warnings += [line for line in (remains, wal) if line]
            self._drops_left = _DROPS
            self._drop_what_is_cached(time.monotonic())
        return warnings

    def with_files_left(self, answer: Answer, changes: Changes) -> Answer:
        """The answer to a forgetting, completed by which of its files are still there. Any other answer is returned as it is."""
        for promised, files in changes.promised:
            if promised is answer:
                stays = [path for path in files if os.path.lexists(path)]
                gone = promised.photos - sum(not path.is_dir() for path in stays)
                return replace(promised, photos=gone, not_removed=[str(path) for path in stays])
        return answer

    def _cross_off(self, doomed: Sequence[Kept], left: Sequence[Left]) -> bool:
        """Cross off the removed files, and note that the backup is up to date. Returns False on a full disk; the next try notes it."""
        try:
            with self._store.transaction():
                removals.cross_off(self._store, self._data_dir, doomed, left)
                self._store.drop_fact(_BACKUP_BEHIND)
        except RollcallError as error:
            self._say(f"it could not be noted that files are removed: {error.line()}")
            return False
        return True

    def _erase_remains(self) -> str | None:
        """Overwrite what SQLite left of the deleted rows. If this can't be done now, returns why; else None."""
        if self._store.path.stat().st_size > erasure.AT_ONCE_BYTES:
            return "the file is large: what is left in its free space is overwritten at the next start of the site"
        try:
            self._store.erase_remains()
        except RollcallError as error:
            fault = error.line()
            self._say(f"remains of a deletion are overwritten at the next start of the site: {fault}")
            return f"what is left in the file's free space is overwritten at the next start of the site: {fault}"
        return None

    def empty_wal(self) -> bool:
        """Empty the WAL. If it can't be emptied now, returns False, and `tick` retries."""
        try:
            done = self._store.truncate_wal()
        except sqlite3.Error as error:
            self._say(self._store.explained(error).line())
            done = False
        self._erase_at = None if done else time.monotonic() + _ERASE_AGAIN_S
        return done

    def _drop_what_is_cached(self, now: float) -> None:
        """Clear the memory that SQLite and numpy keep for reuse: it can hold a forgotten person. `tick` repeats this some times."""
        self._drops_left, self._drop_at = self._drops_left - 1, now + _DROP_AGAIN_S
        self._store.drop_what_is_cached()
        overwrite_small_arrays()

    # --- at the start, and regularly ------------------------------------------------------------------------------

    def begin(self) -> None:
        """Finish what a killed process left undone. It is called under the site's lock, once."""
        backup = backup_path(self._store.path)
        if self._store.fact(_BACKUP_BEHIND) is not None:
            try:
                for copy in leftovers.copies_of_before(self._store.path):
                    copy.unlink()
                    self._say(f"{copy.name} was removed: somebody who was forgotten may be in it")
                backup.unlink(missing_ok=True)
            except OSError as error:  # a read-only disk: the site runs nevertheless, and the next start retries
                self._say(f"{backup.name} may hold somebody who was forgotten, and can't be removed: {error.strerror}")
            else:
                self._say(
                    f"{backup.name} was removed: somebody who was forgotten may be in it; a new one comes within a day"
                )
                self._cross_off([], [])
        for line in leftovers.sweep(self._store.path):
            self._say(f"an unfinished copy of the gallery could not be removed: {line}")
        self._remove_pending()

    def tick(self, now: float) -> None:
        """Retry what could not be done at once. `now`: time.monotonic()."""
        if self._erase_at is not None and now >= self._erase_at:
            self.empty_wal()
        if self._drops_left and now >= self._drop_at:
            self._drop_what_is_cached(now)
        if now >= self._remove_at:
            self._remove_at = now + _REMOVE_AGAIN_S
            self._remove_pending()

    def _remove_pending(self) -> None:
        """Try to remove the files that could not be removed before."""
        if not removals.pending(self._store):
            return
        done, left = removals.try_again(self._store, self._data_dir)
        if done and self._cross_off([done], []):
            self._say(f"{len(done.photos)} files of somebody who was forgotten are removed now")
            self._erase_remains()
            self.empty_wal()
        self._complain_of(left)

    def _complain_of(self, left: Sequence[Left]) -> None:
        """Log how many files can't be removed. Not which: a path contains the person's name, and the log goes to the journal."""
        if len(left) != self._complained_of:
            self._complained_of = len(left)
            if left:
                self._say(
                    f"{len(left)} files of somebody who was forgotten can't be removed ({left[0].reason}); tried again every "
                    "minute. Which: supervisor.py check"
                )

    def check(self) -> list[str]:
        """The files that can't be removed, one line each."""
        return [
            f"{path}: of somebody who was forgotten, and can't be removed" for path in removals.pending(self._store)
        ]


def _is_of(place: str, person: str) -> bool:
    """Whether a path like faces/Ada/1.jpg is in this person's folder."""
    return name_key(place.split("/")[1]) == name_key(person)
