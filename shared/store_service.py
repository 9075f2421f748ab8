"""What can be asked of the gallery: one operation a method, the same in the writer process and in a command without a site.

Writes come in groups: one transaction commits them all, the block is published, and only then is anybody answered. A fault in
one request undoes that request alone.
"""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.errors import RefusedError, RollcallError, UsageError
from shared.gallery_publisher import Batch, GalleryPublisher, NoRoomError
from shared.store import NewReference, Store, explain, unit_vector
from shared.store_opening import Say, backup_path, open_read_only

_REPUBLISH_RETRY_S = 1.0
_MAX_EVENTS = 5000


@dataclass(frozen=True)
class Request:
    """One operation: its name, its JSON arguments, and raw little-endian float32 vectors where it has any."""

    op: str
    arguments: dict[str, Any]
    blob: bytes = b""


@dataclass
class _Changes:
    """What a group of writes did to the references, in order, for the block."""

    steps: list[tuple[str, Any]] = field(default_factory=list)
    republish: bool = False
    compact: bool = False


class StoreService:
    """The operations on one open store; with a publisher, every committed change is published too."""

    def __init__(
        self, store: Store, publisher: GalleryPublisher | None, *, site: str, data_dir: Path, keep_days: int, say: Say
    ) -> None:
        self.store, self._publisher = store, publisher
        self._site, self._data_dir, self._keep_days, self._say = site, data_dir, keep_days, say
        self._retry_at: float | None = None
        self.new_events: list[dict[str, Any]] = []
        self.erasures = 0  # how many times somebody was forgotten: a backup begun before must not be kept
        self._writes: dict[str, Callable[[Request, _Changes], dict[str, Any]]] = {
            "save": self._save,
            "delete": self._delete,
            "forget": self._forget,
            "record": self._record,
            "stage": self._stage,
            "switch_model": self._switch_model,
            "stamp": self._stamp,
        }
        self._reads: dict[str, Callable[[Request], dict[str, Any]]] = {
            "count": lambda _: {"count": store.count()},
            "people": lambda _: {"people": store.people()},
            "references": lambda request: {"references": store.references(request.arguments.get("person"))},
            "events": self._events,
            "info": lambda _: self.info(),
            "is_marked": self._is_marked,
            "cosine": self._cosine,
            "check": lambda _: {"faults": self.check()},
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
        except sqlite3.Error as error:
            raise explain(error, self.store.path) from error

    def write(self, requests: Sequence[Request]) -> list[dict[str, Any] | RollcallError]:
        """Carry out `requests` in one transaction and publish; an answer each, in order.

        A fault that spoils the whole transaction (a full disk) is everybody's answer: nothing was written.
        """
        answers: list[dict[str, Any] | RollcallError] = []
        changes = _Changes()
        self.new_events = []
        try:
            with self.store.transaction():
                for request in requests:
                    answers.append(self._write_one(request, changes))
        except RollcallError as error:
            self.new_events = []
            return [error] * len(requests)
        warning = self._publish(changes)
        if changes.compact:
            self._erase_traces()
        if warning:
            answers = [
                answer if isinstance(answer, RollcallError) else {**answer, "warning": warning} for answer in answers
            ]
        return answers

    def _write_one(self, request: Request, changes: _Changes) -> dict[str, Any] | RollcallError:
        mine, before = _Changes(), len(self.new_events)
        try:
            with self.store.savepoint():
                answer = self._writes[request.op](request, mine)
        except RollcallError as error:
            del self.new_events[before:]
            return error
        except (KeyError, TypeError, ValueError) as error:
            del self.new_events[before:]
            return UsageError(
                "not a request of this operation", where=request.op, got=f"{type(error).__name__}: {error}"
            )
        changes.steps += mine.steps
        changes.republish |= mine.republish
        changes.compact |= mine.compact
        return answer

    # --- writes ------------------------------------------------------------------------------------------------

    def _save(self, request: Request, changes: _Changes) -> dict[str, Any]:
        rows: list[dict[str, Any]] = request.arguments["rows"]
        vectors = _vectors(request.blob, len(rows))
        references = [
            NewReference(
                _text(row["person_name"]),
                vectors[i],
                row.get("image_path"),
                row.get("user_id"),
                row.get("uuid"),
                row.get("photo_digest"),
            )
            for i, row in enumerate(rows)
        ]
        saved = self.store.save(references)
        if saved:
            changes.steps.append(("save", (saved, references)))
        return {"ids": [one.row_id for one in saved], "updated": sum(one.replaced for one in saved)}

    def _delete(self, request: Request, changes: _Changes) -> dict[str, Any]:
        deleted = self.store.delete(_text(request.arguments["person_name"]), request.arguments.get("image_path"))
        changes.steps.append(("remove", deleted.row_ids))
        return {"deleted": len(deleted.row_ids)}

    def _forget(self, request: Request, changes: _Changes) -> dict[str, Any]:
        person, photo = _text(request.arguments["person"]), request.arguments.get("photo")
        if photo is None:
            deleted = self.store.forget(person)
            folder = self._faces_folder(person)
            removed = _remove_tree(folder) if folder else 0
            if not deleted.row_ids and not deleted.sightings and not removed:
                raise RefusedError("nobody of that name", where=person, remedy="see: supervisor.py people")
            paths = []
        else:
            path = self._photo_of(person, photo)
            deleted = self.store.delete(person, path)
            paths, removed = [path], 0
        for path in paths:
            removed += _remove_file(self._data_dir, path)
        changes.steps.append(("remove", deleted.row_ids))
        changes.compact = True
        self.erasures += 1
        self._forget_in_backup(person, paths[0] if paths else None)
        return {
            "person": person,
            "references": len(deleted.row_ids),
            "photos": removed,
            "sightings": deleted.sightings,
            "other_copies": self._other_copies(),
        }

    def _photo_of(self, person: str, photo: str) -> str:
        """The stored path of one of `person`'s photos, named by stored path, absolute path or file name."""
        known = [row["image_path"] for row in self.store.references(person) if row["image_path"]]
        for path in known:
            if photo in (path, str(self._data_dir / path), Path(path).name):
                return str(path)
        raise RefusedError(
            "no such photo of that person",
            where=person,
            got=photo,
            expected="one of " + (", ".join(known[:20]) or "none"),
            remedy="name one of those",
        )

    def _faces_folder(self, person: str) -> Path | None:
        """Where the person's photos are kept; None for an adopted name that is no folder name."""
        return self._data_dir / "faces" / person if Path(person).name == person else None

    def _forget_in_backup(self, person: str, photo: str | None) -> None:
        """The site's own backup must not bring anybody back: the person leaves it too; an unfit backup is removed."""
        path = backup_path(self.store.path)
        if not path.exists():
            return
        try:
            backup = Store(sqlite3.connect(path, isolation_level=None), path, read_only=False)
            backup.connection.execute("PRAGMA foreign_keys=ON")
            backup.connection.execute("PRAGMA secure_delete=ON")
            try:
                with backup.transaction():
                    if photo is None:
                        backup.forget(person)
                    else:
                        backup.delete(person, photo)
            finally:
                backup.connection.close()
        except (sqlite3.Error, RollcallError):
            path.unlink(missing_ok=True)
            self._say(
                f"the backup {path.name} could not be changed and was removed; the next one is made at the next stop"
            )

    def _other_copies(self) -> list[str]:
        """Files of ours that may still hold the person, which only the operator may delete."""
        name = self.store.path.name
        return sorted(
            path.name
            for path in self._data_dir.iterdir()
            if path.name.startswith((f"{name}.before-", f"{name}.damaged-"))
        )

    def _record(self, request: Request, changes: _Changes) -> dict[str, Any]:  # noqa: ARG002  # sightings don't change the block
        kept = self.store.record(request.arguments["events"], self._site)
        self.new_events += kept
        return {"recorded": len(kept)}

    def _stage(self, request: Request, changes: _Changes) -> dict[str, Any]:  # noqa: ARG002  # staged rows are not published
        ids = request.arguments["ids"]
        self.store.stage(ids, _vectors(request.blob, len(ids)), request.arguments["fingerprint"])
        return {"staged": len(ids)}

    def _switch_model(self, request: Request, changes: _Changes) -> dict[str, Any]:
        given = request.arguments
        left_out = self.store.switch_model(given["model"], given["fingerprint"], int(given["dim"]))
        changes.republish = True
        return {"references": self.store.count(), "left_out": left_out}

    def _stamp(self, request: Request, changes: _Changes) -> dict[str, Any]:
        given = request.arguments
        dim = self.store.dim
        if dim is not None and dim != int(given["dim"]) and self.store.count():
            raise RefusedError(
                "a model of another dimension",
                got=given["dim"],
                expected=str(dim),
                remedy="models use NAME embeds anew",
            )
        self.store.stamp(given["model"], given["fingerprint"], int(given["dim"]))
        changes.republish = True
        return {}

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
            answer = self.store.replace_from(file)
        except sqlite3.Error as error:
            raise explain(error, self.store.path) from error
        warning = self._publish(_Changes(republish=True))
        return {**answer, "warning": warning} if warning else answer

    # --- reads -------------------------------------------------------------------------------------------------

    def _events(self, request: Request) -> dict[str, Any]:
        limit = min(int(request.arguments.get("limit", 1000)), _MAX_EVENTS)
        found = self.store.sightings(int(request.arguments.get("after_id", 0)), request.arguments.get("since"), limit)
        return {"events": found, "last_id": self.store.last_sighting_id()}

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
        """What the gallery is: model, counts, the block's state."""
        store, publisher = self.store, self._publisher
        return {
            "model": store.model,
            "fingerprint": store.fingerprint,
            "dim": store.dim,
            "references": store.count(),
            "people": store.people_count(),
            "change_number": store.change_number,
            "generation": publisher.generation if publisher else None,
            "published_rows": publisher.live_rows if publisher else None,
            "behind": self._retry_at is not None,
        }

    def check(self) -> list[str]:
        """Everything unsound in the store and in the block; empty when both are sound and agree."""
        faults = self.store.check()
        if self._publisher is not None:
            faults += self._publisher.check()
            if self._retry_at is None and self._publisher.live_rows != self.store.count():
                faults.append(f"block: {self._publisher.live_rows} live rows, database: {self.store.count()}")
        return faults

    # --- the block ---------------------------------------------------------------------------------------------

    def publish_everything(self, progress: Callable[[], None] = lambda: None) -> None:
        """Load the whole store into a new generation, calling `progress` every few thousand rows.

        Raises NoRoomError or what the load raises.
        """
        assert self._publisher is not None  # only a writer calls this
        if self.store.dim is not None:
            self._publisher.describe(self.store.dim, self.store.model or "", self.store.fingerprint or "")

        def batches() -> Iterator[Batch]:
            for batch in self.store.load():
                progress()
                yield Batch(batch.row_ids, batch.names, batch.user_ids, batch.vectors)

        self._publisher.publish_all(self.store.count(), batches(), self.store.people_count(), self.store.text_bytes())
        self._retry_at = None

    def tick(self, now: float) -> None:
        """What has to be done from time to time: publish what found no room before."""
        if self._retry_at is not None and now >= self._retry_at:
            self._publish(_Changes(republish=True))

    def purge(self) -> None:
        """Delete sightings past their time."""
        with self.store.transaction():
            self.store.purge_sightings(self._keep_days)

    def _publish(self, changes: _Changes) -> str | None:
        """Bring the block up to what was committed. A warning when shared memory has no room; tried again later."""
        publisher = self._publisher
        if publisher is None or not (changes.steps or changes.republish):
            return None
        try:
            if changes.republish or self._retry_at is not None or publisher.dim != self.store.dim:
                for kind, value in changes.steps:
                    if kind == "remove":
                        publisher.remove(value)
                self.publish_everything()
            else:
                self._publish_steps(publisher, changes)
            if changes.compact:
                publisher.compact()
            publisher.compact_if_wasteful()
        except NoRoomError as error:
            if self._retry_at is None:
                self._say(f"NOT LIVE YET: {error.line()}")
            self._retry_at = time.monotonic() + _REPUBLISH_RETRY_S
            publisher.wipe()
            return f"stored, but not live yet: {error.line()}"
        return None

    def _publish_steps(self, publisher: GalleryPublisher, changes: _Changes) -> None:
        for kind, value in changes.steps:
            if kind == "remove":
                if value:
                    publisher.remove(value)
                continue
            saved, references = value
            last = {
                one.row_id: i for i, one in enumerate(saved)
            }  # a photo saved twice in one batch: the last one counts
            chosen = sorted(last.values())
            batch = Batch(
                [saved[i].row_id for i in chosen],
                [references[i].person_name for i in chosen],
                [references[i].user_id for i in chosen],
                np.stack([saved[i].vector for i in chosen]),
            )
            if any(one.replaced for one in saved):
                publisher.replace(batch)
            else:
                publisher.append(batch)

    def _erase_traces(self) -> None:
        """After a forget: nothing of the rows stays in the WAL."""
        try:
            self.store.truncate_wal()
        except sqlite3.Error as error:
            self._say(explain(error, self.store.path).line())


def _vectors(blob: bytes, rows: int) -> NDArray[np.float32]:
    if not rows:
        return np.empty((0, 0), np.float32)
    if not blob or len(blob) % (4 * rows):
        raise ValueError(f"{len(blob)} bytes of vectors for {rows} rows")
    return np.frombuffer(blob, "<f4").reshape(rows, -1)


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip() or len(value.encode()) > 1024:
        raise RefusedError("not a name", got=repr(value)[:80], expected="text of 1 to 1024 bytes")
    return value


def _remove_tree(folder: Path) -> int:
    """Remove a person's kept photos; how many files there were."""
    if folder.is_symlink() or not folder.is_dir() or folder.name in (".", ".."):
        return 0
    count = sum(1 for path in folder.rglob("*") if path.is_file())
    shutil.rmtree(folder)
    return count


def _remove_file(data_dir: Path, image_path: str) -> int:
    """Remove a kept photo when it is ours, that is, under data_dir."""
    path = (data_dir / image_path).resolve()
    if not path.is_relative_to(data_dir.resolve()) or not path.is_file():
        return 0
    path.unlink()
    return 1
