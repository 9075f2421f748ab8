"""What a deletion has to change beyond the gallery's own rows: kept photos, the site's own backup, copies that migrations left."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

from shared.errors import RefusedError, RollcallError, Say
from shared.person_names import name_key
from shared.photos.kept import digest_of
from shared.records import Reference
from shared.store.connection import TimeLimit, connect
from shared.store.leftovers import copies_of_before
from shared.store.marks import is_photo_marked, path_mark
from shared.store.references import list_references, spellings_of
from shared.store.rewriting import write_anew
from shared.store.schema import PARTS, tables
from shared.store.store import Store
from shared.store.unsound_rows import forget_damaged_rows


def photo_named(data_dir: Path, store: Store, person: str, photo: str) -> str | None:
    """The stored path of one of `person`'s photos. `photo`: its stored path, its absolute path, or its file name. None if not found."""
    return _path_named(data_dir, photos_of(store, person), photo)


def reference_named(data_dir: Path, references: Sequence[Reference], photo: str) -> Reference | None:
    """The one of these references of a person that `photo` names: as for `photo_named`, or else its id. None if not found."""
    path = _path_named(data_dir, [one.image_path for one in references if one.image_path], photo)
    for one in references:
        if one.image_path == path if path else str(one.id) == photo:
            return one
    return None


def _path_named(data_dir: Path, known: Sequence[str], photo: str) -> str | None:
    wanted = (data_dir / photo).resolve()
    ways: tuple[Callable[[str], bool], ...] = (
        lambda path: path == photo,
        lambda path: (data_dir / path).resolve() == wanted,
        lambda path: Path(path).name == Path(photo).name,
    )
    return next((path for is_it in ways for path in known if is_it(path)), None)


def photos_of(store: Store, person: str) -> list[str]:
    """The stored paths of a person's photos, in every spelling of the name."""
    found = [row.image_path for one in spellings_of(store, person) for row in list_references(store, one)]
    return [path for path in found if isinstance(path, str) and path]


def was_deleted(data_dir: Path, store: Store, person: str, photo: str) -> bool:
    """Whether a photo of `person` was deleted. `photo`: as for `photo_named`. Known by the path it had, or by its bytes."""
    stored = Path(os.path.normpath(data_dir / photo))
    names = [photo, f"faces/{person}/{Path(photo).name}"]
    if stored.is_relative_to(data_dir):
        names.append(stored.relative_to(data_dir).as_posix())
    digest = digest_of(stored) if stored.is_file() else None
    return any(is_photo_marked(store, person, one) for one in (*map(path_mark, names), digest) if one)


# A file up to this size is written anew at once. That takes a second or two, in which the writer does nothing else; cameras go on.
AT_ONCE_BYTES = 256 << 20


def change_backup(backup: Path, changes: Sequence[Callable[[Store], object]], say: Say, *, erase: bool) -> None:
    """Make `changes`, which were committed to the gallery, in the site's own backup, too. The backup must not bring back anybody.

    A backup that can't be changed is removed. `erase`: overwrite what the changes delete in the file's free space; if the file is
    large, this is done at the next start.
    """
    if not backup.exists():
        return
    try:
        store = Store(connect(backup), backup, read_only=False)
        try:
            with store.transaction():
                for change in changes:
                    change(store)
                if erase:
                    store.want_remains_erased()
            if erase and backup.stat().st_size <= AT_ONCE_BYTES:
                store.erase_remains()
        finally:
            store.connection.close()
    except (sqlite3.Error, RollcallError):
        backup.unlink(missing_ok=True)
        say(f"the backup {backup.name} could not be changed and was removed; the next one is made within a day")


def change_copies_of_before(db_path: Path, forgotten: Sequence[tuple[str, str | None]], say: Say) -> None:
    """Delete people, or one photo of theirs, from the copies that migrations left, of whatever version.

    `forgotten`: (person, photo) pairs; photo None: the whole person. A copy that can't be changed is removed.
    """
    for copy in copies_of_before(db_path):
        try:
            _change_copy_of_before(copy, forgotten)
        except (sqlite3.Error, RollcallError):
            for part in PARTS:
                copy.with_name(copy.name + part).unlink(missing_ok=True)
            say(
                f"{copy.name}, which a migration left, could not be changed and was removed: somebody forgotten may be in it"
            )


def _change_copy_of_before(copy: Path, forgotten: Sequence[tuple[str, str | None]]) -> None:
    connection = connect(copy)
    try:
        TimeLimit(connection, copy)  # somebody may have made this file to do harm
        if connection.execute("SELECT 1 FROM sqlite_master WHERE type='trigger'").fetchone():
            raise RefusedError("a database with triggers", where=str(copy), remedy="none: they may keep its rows")
        connection.execute("BEGIN IMMEDIATE")
        deleted = sum(_delete_from_copy(connection, person, photo) for person, photo in forgotten)
        connection.execute("COMMIT")
        if not deleted:
            return
        if copy.stat().st_size > AT_ONCE_BYTES:
            raise RefusedError("too large to be written anew while the site runs", where=str(copy))
        write_anew(connection, copy)
    finally:
        connection.close()


def _delete_from_copy(connection: sqlite3.Connection, person: str, photo: str | None) -> int:
    """Delete a person's rows, or those of one photo, in every spelling of the name. Returns how many."""
    found, wanted, deleted = tables(connection), name_key(person), 0
    of_people = (
        ("embeddings", "person_name"),
        ("left_out", "person_name"),
        ("sightings", "person"),
        ("people", "name"),
    )
    for table, column in of_people:
        if table not in found or (photo is not None and table != "embeddings"):
            continue
        names = connection.execute(f"SELECT DISTINCT {column} FROM {table}").fetchall()  # noqa: S608  # constants, as below
        for spelling in (one for (one,) in names if isinstance(one, str) and name_key(one) == wanted):
            where, values = (
                (f"{column}=?", (spelling,)) if photo is None else (f"{column}=? AND image_path=?", (spelling, photo))
            )
            deleted += connection.execute(f"DELETE FROM {table} WHERE {where}", values).rowcount  # noqa: S608
    if photo is None and "left_out" in found:
        forget_damaged_rows(connection)
    return deleted


def knows_strangers(store: Store) -> bool:
    """Whether this database has the tables for strangers. Backups of older versions don't."""
    return "strangers" in tables(store.connection)
