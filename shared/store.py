"""The SQLite store: one writable connection under the site's lock, or a read-only one beside it.

Everything that changes rows happens inside `transaction`; nothing here publishes, locks or talks to a socket.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import sqlite3
import unicodedata
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared import schema
from shared.errors import ConfigurationError, RefusedError, RollcallError, TemporaryError

BUSY_TIMEOUT_S = 10.0
_MMAP_BYTES = 1 << 30
_LOAD_BATCH = 4096
_COLUMNS = "id, person_name, embedding, image_path, user_id, created_at, updated_at"


@dataclass(frozen=True)
class NewReference:
    """One reference to save. `vector` (dim,) float32, any length but zero; `uuid` makes a repeated save harmless."""

    person_name: str
    vector: NDArray[np.float32]
    image_path: str | None = None
    user_id: str | None = None
    uuid: str | None = None
    photo_digest: str | None = None


@dataclass(frozen=True)
class SavedReference:
    """What `save` did: the row's id, and whether it replaced what the row held before."""

    row_id: int
    replaced: bool
    vector: NDArray[np.float32]


@dataclass(frozen=True)
class LoadedBatch:
    """References as they lie in the store; `vectors` (n, dim) float32, unit norm."""

    row_ids: list[int]
    names: list[str]
    user_ids: list[str | None]
    vectors: NDArray[np.float32]


@dataclass(frozen=True)
class Deleted:
    """What a deletion removed."""

    row_ids: list[int]
    image_paths: list[str]
    sightings: int


def unit_vector(vector: NDArray[np.float32], where: str) -> NDArray[np.float32]:
    """`vector` flat, float32, unit L2 norm. Raises RefusedError for an empty, zero or non-finite one."""
    flat = np.asarray(vector, dtype=np.float32).reshape(-1)
    norm = float(np.linalg.norm(flat.astype(np.float64))) if flat.size and np.isfinite(flat).all() else 0.0
    if norm < 1e-6:
        raise RefusedError(
            "not an embedding", where=where, got="an empty, zero, NaN or infinite vector", expected="finite numbers"
        )
    return flat if abs(norm - 1) <= 1e-6 else (flat / norm).astype(np.float32)


def explain(error: sqlite3.Error, path: Path) -> RollcallError:
    """What a person can do about a fault that SQLite reports."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    text = str(error)
    if code == sqlite3.SQLITE_FULL:
        return TemporaryError("the disk is full", where=str(path), got=text, remedy="free some space; nothing was lost")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return ConfigurationError(
            "the database can't be written",
            where=str(path),
            got=text,
            expected="a writable file and folder",
            remedy="check the mount (read-only?) and the owner of data_dir",
        )
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return ConfigurationError(
            "the database is damaged",
            where=str(path),
            got=text,
            remedy="start the site: it sets the file aside and runs from backup or photos; or: supervisor.py restore FILE",
        )
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return TemporaryError("the database is in use", where=str(path), got=text, remedy="try again in a moment")
    if code == sqlite3.SQLITE_IOERR:
        return TemporaryError(
            "the disk reports errors", where=str(path), got=text, remedy="check the disk and its free space"
        )
    return RollcallError("the database refused", where=str(path), got=text)


class Store:
    """An open gallery database of the current schema. `store_opening.open_store` makes one."""

    def __init__(self, connection: sqlite3.Connection, path: Path, *, read_only: bool) -> None:
        self.connection, self.path, self.read_only = connection, path, read_only
        self._in_transaction = False
        self._change_number = 0

    # --- facts -------------------------------------------------------------------------------------------------

    def fact(self, key: str) -> str | None:
        row = self.connection.execute("SELECT value FROM store_facts WHERE key=?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def set_fact(self, key: str, value: str) -> None:
        self.connection.execute(
            "INSERT INTO store_facts VALUES (?, ?) ON CONFLICT(key) DO UPDATE SET value=excluded.value", (key, value)
        )

    @property
    def dim(self) -> int | None:
        """Length of every embedding; None while nothing has been saved."""
        found = self.fact("dim")
        return None if found is None else int(found)

    @property
    def fingerprint(self) -> str | None:
        """Fingerprint of the model that made the embeddings; None: not stamped yet."""
        return self.fact("fingerprint")

    @property
    def model(self) -> str | None:
        """The model's engine and name, like `insightface/buffalo_l`."""
        return self.fact("model")

    @property
    def change_number(self) -> int:
        return int(self.fact("change_number") or 0)

    def stamp(self, model: str, fingerprint: str, dim: int) -> None:
        """Say which model the embeddings are of."""
        for key, value in (("model", model), ("fingerprint", fingerprint), ("dim", str(dim))):
            self.set_fact(key, value)

    # --- transactions ------------------------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """BEGIN IMMEDIATE … COMMIT, rolled back on any error; SQLite's faults come out explained."""
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            self._in_transaction, self._change_number = True, self.change_number
            before = self._change_number
            yield
            if self._change_number != before:
                self.set_fact("change_number", str(self._change_number))
            self.connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            raise explain(error, self.path) from error
        except BaseException:
            self._roll_back()
            raise
        finally:
            self._in_transaction = False

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """One request inside a group commit: its faults undo only itself."""
        self.connection.execute("SAVEPOINT request")
        change_number = self._change_number
        try:
            yield
        except BaseException:
            self._change_number = change_number
            if self.connection.in_transaction:  # a full disk can have rolled the whole transaction back already
                self.connection.execute("ROLLBACK TO request")
                self.connection.execute("RELEASE request")
            raise
        self.connection.execute("RELEASE request")

    def _roll_back(self) -> None:
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")

    def _next_change(self) -> int:
        self._change_number += 1
        return self._change_number

    # --- references --------------------------------------------------------------------------------------------

    def count(self) -> int:
        return int(self.connection.execute("SELECT COUNT(*) FROM embeddings").fetchone()[0])

    def load(self) -> Iterator[LoadedBatch]:
        """Every reference in id order, in batches. Raises ConfigurationError for a row that is not a unit vector of `dim`."""
        dim = self.dim or 0
        cursor = self.connection.execute("SELECT id, person_name, user_id, embedding FROM embeddings ORDER BY id")
        while rows := cursor.fetchmany(_LOAD_BATCH):
            ids, names, users, blobs = zip(*rows, strict=True)
            joined = b"".join(blobs)
            if len(joined) != len(rows) * dim * 4 or any(len(blob) != dim * 4 for blob in blobs):
                wrong = next(row for row in rows if len(row[3]) != dim * 4)
                raise self._unsound(wrong[0], f"{len(wrong[3])} bytes", f"{dim * 4} bytes")
            vectors = np.frombuffer(joined, "<f4").reshape(len(rows), dim)
            norms = np.linalg.norm(vectors, axis=1)
            off = np.flatnonzero(~(np.abs(norms - 1) < 1e-3))
            if len(off):
                raise self._unsound(ids[off[0]], f"norm {norms[off[0]]}", "1")
            yield LoadedBatch(list(ids), list(names), list(users), vectors)

    def _unsound(self, row_id: int, got: str, expected: str) -> ConfigurationError:
        return ConfigurationError(
            "a row of embeddings is unsound",
            where=f"{self.path} row {row_id}",
            got=got,
            expected=expected,
            remedy="delete the row or restore a backup: supervisor.py restore FILE",
        )

    def text_bytes(self) -> int:
        """Bytes of all names and user ids; what the block's heap must hold at the least."""
        row = self.connection.execute(
            "SELECT COALESCE(SUM(LENGTH(CAST(person_name AS BLOB)) + LENGTH(CAST(COALESCE(user_id, '') AS BLOB))), 0) FROM embeddings"
        ).fetchone()
        return int(row[0])

    def people_count(self) -> int:
        return int(self.connection.execute("SELECT COUNT(DISTINCT person_name) FROM embeddings").fetchone()[0])

    def save(self, references: Sequence[NewReference]) -> list[SavedReference]:
        """Insert, or update in place what has the same person and photo: same id, same created_at.

        Raises RefusedError for a vector that is not one, or of another length than the gallery's.
        """
        saved = []
        for reference in references:
            vector = unit_vector(reference.vector, reference.person_name)
            self._check_dim(vector, reference)
            saved.append(self._save_one(reference, vector))
        return saved

    def _check_dim(self, vector: NDArray[np.float32], reference: NewReference) -> None:
        dim = self.dim
        if dim is None:
            self.set_fact("dim", str(len(vector)))
        elif len(vector) != dim:
            raise RefusedError(
                "an embedding of another model",
                where=reference.person_name,
                got=f"{len(vector)} numbers",
                expected=f"{dim}",
                remedy="embed the photo with the gallery's model",
            )

    def _save_one(self, reference: NewReference, vector: NDArray[np.float32]) -> SavedReference:
        name, path, blob = reference.person_name, reference.image_path, vector.astype("<f4").tobytes()
        self.connection.execute(
            "DELETE FROM deletion_marks WHERE person_mark=? AND (whole_person OR photo_mark=?)",
            (self.mark(name), self.mark(reference.photo_digest or "")),
        )
        existing = self._existing(reference, blob)
        change = self._next_change()
        if existing is None:
            row_id = self.connection.execute(
                "INSERT INTO embeddings(person_name, embedding, image_path, user_id) VALUES (?, ?, ?, ?)",
                (name, blob, path, reference.user_id),
            ).lastrowid
            assert row_id is not None  # an INSERT that did not raise made a row
            self.connection.execute(
                "INSERT INTO reference_facts VALUES (?, ?, ?, ?)",
                (row_id, reference.uuid or str(uuid.uuid4()), change, reference.photo_digest),
            )
            return SavedReference(row_id, False, vector)
        self.connection.execute(
            "UPDATE embeddings SET embedding=?, user_id=COALESCE(?, user_id), updated_at=CURRENT_TIMESTAMP WHERE id=?",
            (blob, reference.user_id, existing),
        )
        self.connection.execute(
            "UPDATE reference_facts SET change_number=?, photo_digest=COALESCE(?, photo_digest) WHERE embedding_id=?",
            (change, reference.photo_digest, existing),
        )
        return SavedReference(existing, True, vector)

    def _existing(self, reference: NewReference, blob: bytes) -> int | None:
        """The row this save updates: of the same uuid, of the same photo, or, without a photo, of the same vector."""
        if reference.uuid is not None:
            row = self.connection.execute(
                "SELECT embedding_id FROM reference_facts WHERE uuid=?", (reference.uuid,)
            ).fetchone()
            if row is not None:
                return int(row[0])
        if reference.image_path is not None:
            query, values = "image_path=?", (reference.person_name, reference.image_path)
        else:
            query, values = "image_path IS NULL AND embedding=?", (reference.person_name, blob)  # type: ignore[assignment]  # (str, bytes)
        row = self.connection.execute(f"SELECT id FROM embeddings WHERE person_name=? AND {query}", values).fetchone()  # noqa: S608  # two constants
        return None if row is None else int(row[0])

    def vector(self, row_id: int) -> NDArray[np.float32]:
        """One reference's (dim,) float32. Raises RefusedError for an unknown id."""
        row = self.connection.execute("SELECT embedding FROM embeddings WHERE id=?", (row_id,)).fetchone()
        if row is None:
            raise RefusedError("no such reference", got=row_id)
        return np.frombuffer(row[0], "<f4")

    def user_id(self, name: str) -> str | None:
        """The person's user id: the one given last."""
        row = self.connection.execute(
            "SELECT user_id FROM embeddings WHERE person_name=? AND user_id IS NOT NULL ORDER BY updated_at DESC, id DESC LIMIT 1",
            (name,),
        ).fetchone()
        return None if row is None else str(row[0])

    def people(self) -> list[dict[str, Any]]:
        """Everybody enrolled: name, user id, number of references, first and last change."""
        rows = self.connection.execute(
            "SELECT person_name, COUNT(*), MIN(created_at), MAX(updated_at) FROM embeddings GROUP BY person_name ORDER BY person_name"
        )
        return [
            {
                "person": name,
                "user_id": self.user_id(name),
                "references": count,
                "enrolled_at": _iso(created),
                "updated_at": _iso(updated),
            }
            for name, count, created, updated in rows.fetchall()
        ]

    def references(self, name: str | None = None) -> list[dict[str, Any]]:
        """Each reference's row without its vector, of one person or of all."""
        rows = self.connection.execute(
            "SELECT e.id, e.person_name, e.image_path, f.photo_digest FROM embeddings e LEFT JOIN reference_facts f ON f.embedding_id=e.id "
            "WHERE ? IS NULL OR e.person_name=? ORDER BY e.id",
            (name, name),
        )
        return [{"id": row[0], "person": row[1], "image_path": row[2], "photo_digest": row[3]} for row in rows]

    # --- deletions ---------------------------------------------------------------------------------------------

    def mark(self, text: str) -> str:
        """Keyed hash of a name or photo digest, as deletion marks keep it."""
        key = self.fact("mark_key") or ""
        return hmac.new(key.encode(), unicodedata.normalize("NFC", text).encode(), hashlib.sha256).hexdigest()

    def delete(self, name: str, image_path: str | None = None, *, mark_person: bool | None = None) -> Deleted:
        """Remove a person, or one photo of theirs, and leave marks. `mark_person`: also against unknown photos of theirs."""
        rows = self.connection.execute(
            "SELECT e.id, e.image_path, f.uuid, f.photo_digest FROM embeddings e LEFT JOIN reference_facts f ON f.embedding_id=e.id "
            "WHERE e.person_name=? AND (? IS NULL OR e.image_path=?)",
            (name, image_path, image_path),
        ).fetchall()
        person_mark = self.mark(name)
        for row_id, _, reference_uuid, digest in rows:
            self._leave_mark(reference_uuid, person_mark, self.mark(digest) if digest else None, whole=False)
            self.connection.execute("DELETE FROM embeddings WHERE id=?", (row_id,))
        if image_path is None if mark_person is None else mark_person:
            self._leave_mark(None, person_mark, None, whole=True)
        return Deleted([row[0] for row in rows], [row[1] for row in rows if row[1]], 0)

    def forget(self, name: str) -> Deleted:
        """Remove every row that tells of a person: references, sightings, what was left out; and leave marks."""
        deleted = self.delete(name)
        sightings = self.connection.execute("DELETE FROM sightings WHERE person=?", (name,)).rowcount
        self.connection.execute("DELETE FROM left_out WHERE person_name=?", (name,))
        return Deleted(deleted.row_ids, deleted.image_paths, sightings)

    def _leave_mark(self, reference_uuid: str | None, person_mark: str, photo_mark: str | None, *, whole: bool) -> None:
        self.connection.execute(
            "INSERT OR REPLACE INTO deletion_marks(uuid, person_mark, photo_mark, whole_person, change_number) VALUES (?, ?, ?, ?, ?)",
            (reference_uuid or str(uuid.uuid4()), person_mark, photo_mark, int(whole), self._next_change()),
        )

    def is_marked(self, name: str, photo_digest: str | None = None) -> bool:
        """Whether this person, or this photo of theirs, was deleted and not enrolled again since."""
        row = self.connection.execute(
            "SELECT 1 FROM deletion_marks WHERE person_mark=? AND (whole_person OR photo_mark=?) LIMIT 1",
            (self.mark(name), self.mark(photo_digest or "")),
        ).fetchone()
        return row is not None

    # --- sightings ---------------------------------------------------------------------------------------------

    def record(self, events: Iterable[dict[str, Any]], site: str) -> list[dict[str, Any]]:
        """Keep sightings; those already kept (same key) are passed over. Returns the new ones with `id` and `site`.

        A person who was deleted meanwhile is not written down again: the sighting becomes one of nobody known.
        """
        kept = []
        for event in events:
            document = {name: value for name, value in event.items() if name not in ("key", "id")}
            document["site"] = site
            person = document.get("person")
            if (
                person is not None
                and self.connection.execute(
                    "SELECT 1 FROM embeddings WHERE person_name=? LIMIT 1", (person,)
                ).fetchone()
                is None
            ):
                document |= {"person": None, "user_id": None, "score": None, "margin": None}
                if document["event"] == "named":
                    continue
                if document.get("verdict") == "named":
                    document["verdict"] = "unknown"
            values = (
                event["key"],
                document["event"],
                document["time"],
                document["camera"],
                document.get("person"),
                json.dumps(document),
            )
            cursor = self.connection.execute(
                "INSERT OR IGNORE INTO sightings(key, event, time, camera, person, document) VALUES (?, ?, ?, ?, ?, ?)",
                values,
            )
            if cursor.rowcount:
                kept.append({"id": cursor.lastrowid, **document})
        return kept

    def sightings(self, after_id: int = 0, since: str | None = None, limit: int = 1000) -> list[dict[str, Any]]:
        """At most `limit` kept sightings with id > `after_id` and time >= `since` (ISO 8601, UTC), oldest first."""
        rows = self.connection.execute(
            "SELECT id, document FROM sightings WHERE id>? AND (? IS NULL OR time>=?) ORDER BY id LIMIT ?",
            (after_id, since, since, limit),
        )
        return [{"id": row[0], **json.loads(row[1])} for row in rows]

    def last_sighting_id(self) -> int:
        row = self.connection.execute("SELECT seq FROM sqlite_sequence WHERE name='sightings'").fetchone()
        return 0 if row is None else int(row[0])

    def purge_sightings(self, keep_days: int, now: datetime | None = None) -> int:
        """Delete sightings older than `keep_days`; how many."""
        limit = (now or datetime.now(UTC)) - timedelta(days=keep_days)
        return self.connection.execute(
            "DELETE FROM sightings WHERE time<?", (limit.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),)
        ).rowcount

    # --- another model -----------------------------------------------------------------------------------------

    def stage(self, row_ids: Sequence[int], vectors: NDArray[np.float32], fingerprint: str) -> None:
        """Keep embeddings of another model (n, dim) beside the active ones."""
        for row_id, vector in zip(row_ids, vectors, strict=True):
            blob = unit_vector(vector, f"row {row_id}").astype("<f4").tobytes()
            self.connection.execute(
                "INSERT OR REPLACE INTO staged_embeddings VALUES (?, ?, ?)", (row_id, fingerprint, blob)
            )

    def switch_model(self, model: str, fingerprint: str, dim: int) -> int:
        """Make the staged embeddings the active ones. References that were not staged go to `left_out`; how many did."""
        self.connection.execute(
            "INSERT OR REPLACE INTO left_out SELECT id, person_name, embedding, image_path, user_id, created_at, updated_at, ? FROM embeddings "
            "WHERE id NOT IN (SELECT embedding_id FROM staged_embeddings WHERE fingerprint=?)",
            (f"no photo to embed with {model}", fingerprint),
        )
        left_out = self.connection.execute(
            "DELETE FROM embeddings WHERE id NOT IN (SELECT embedding_id FROM staged_embeddings WHERE fingerprint=?)",
            (fingerprint,),
        ).rowcount
        self.connection.execute(
            "UPDATE embeddings SET embedding=(SELECT s.embedding FROM staged_embeddings s WHERE s.embedding_id=embeddings.id)"
        )
        self.connection.execute("DELETE FROM staged_embeddings")
        self.stamp(model, fingerprint, dim)
        self._next_change()
        return left_out

    # --- the whole file ----------------------------------------------------------------------------------------

    def replace_from(self, backup: Path) -> dict[str, Any]:
        """Take all references from `backup`, but for those deleted here since. For `restore`; sightings stay the site's own.

        Must not be called inside `transaction`: ATTACH can't be.
        """
        self.connection.execute("ATTACH DATABASE ? AS backup", (f"{backup.absolute().as_uri()}?mode=ro",))
        try:
            with self.transaction():
                return self._replace_from_attached()
        finally:
            self.connection.execute("DETACH DATABASE backup")

    def _replace_from_attached(self) -> dict[str, Any]:
        facts = dict(self.connection.execute("SELECT key, value FROM backup.store_facts").fetchall())
        rows = self.connection.execute(
            "SELECT e.id, e.person_name, f.uuid, f.photo_digest FROM backup.embeddings e "
            "LEFT JOIN backup.reference_facts f ON f.embedding_id=e.id"
        ).fetchall()
        marked = {row[0] for row in rows if self._is_gone(row[1], row[2], row[3])}
        self.connection.execute("DELETE FROM embeddings")
        self.connection.execute(f"INSERT INTO embeddings({_COLUMNS}) SELECT {_COLUMNS} FROM backup.embeddings")  # noqa: S608  # a constant
        self.connection.execute(
            "INSERT INTO reference_facts SELECT * FROM backup.reference_facts WHERE embedding_id IN (SELECT id FROM embeddings)"
        )
        self.connection.executemany("DELETE FROM embeddings WHERE id=?", [(row_id,) for row_id in marked])
        if self.connection.execute("SELECT 1 FROM sightings LIMIT 1").fetchone() is None:
            self.connection.execute("INSERT OR IGNORE INTO sightings SELECT * FROM backup.sightings")
        change = max(self._change_number, int(facts["change_number"])) + 1
        self._change_number = change
        for key in ("dim", "model", "fingerprint"):
            if key in facts:
                self.set_fact(key, facts[key])
        return {"restored": len(rows) - len(marked), "kept_deleted": len(marked)}

    def _is_gone(self, name: str, reference_uuid: str | None, digest: str | None) -> bool:
        if self.is_marked(name, digest):
            return True
        return (
            self.connection.execute("SELECT 1 FROM deletion_marks WHERE uuid=?", (reference_uuid,)).fetchone()
            is not None
        )

    def backup_to(self, target: Path) -> None:
        """A consistent copy in `target`, complete alone, mode 0600, replaced in one step."""
        temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
        try:
            schema.copy_database(self.connection, temporary)
            temporary.replace(target)
        except sqlite3.Error as error:
            raise explain(error, target) from error
        finally:
            temporary.unlink(missing_ok=True)

    def truncate_wal(self) -> None:
        """Move everything into the database file and empty the WAL, so that erased rows are not left in it."""
        self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def check(self) -> list[str]:
        """What is unsound in the file, one line each; empty when it is sound."""
        faults = [
            f"{self.path.name}: {row[0]}"
            for row in self.connection.execute("PRAGMA integrity_check(20)")
            if row[0] != "ok"
        ]
        faults += [
            f"{self.path.name}: row {row[2]} of {row[0]} refers to nothing"
            for row in self.connection.execute("PRAGMA foreign_key_check")
        ]
        for row in self.connection.execute(
            "SELECT id FROM embeddings WHERE id NOT IN (SELECT embedding_id FROM reference_facts)"
        ):
            faults.append(f"{self.path.name}: reference {row[0]} has no uuid")
        try:
            for _ in self.load():
                pass
        except RollcallError as error:
            faults.append(error.line())
        return faults

    def close(self) -> None:
        """Close; a writable store's file is then complete alone."""
        try:
            if not self.read_only:
                self.truncate_wal()
        except sqlite3.Error as error:
            raise explain(error, self.path) from error
        finally:
            self.connection.close()


def _iso(timestamp: str | None) -> str | None:
    """SQLite's CURRENT_TIMESTAMP as ISO 8601 in UTC."""
    return None if timestamp is None else timestamp.replace(" ", "T") + ("" if timestamp.endswith("Z") else "Z")
