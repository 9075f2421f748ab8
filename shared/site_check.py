"""Proves a running site sound from outside: the file and the block are read by whoever asks, and the writer goes on with its work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from shared.errors import RollcallError, TemporaryError
from shared.gallery_reader import GalleryReader
from shared.settings import Settings
from shared.store import Store
from shared.store_opening import open_read_only
from shared.store_strangers import Strangers

_MOST_LOOKS = 8  # at whether block and file agree; each needs a moment in which nobody was enrolled or removed


def check_running(settings: Settings, info: Callable[[], dict[str, Any]]) -> list[str]:
    """Everything unsound in the database and in the block of a running site, and where the two differ, one line each.

    `info`: the writer's answer to `info`; once it answers, what it has committed is published. Raises RollcallError for a
    database that can't be opened.
    """
    refusal = info()["nothing_stored"]
    store = open_read_only(settings.db_path, unwritten=bool(refusal))
    try:
        faults = [refusal] if refusal else []
        faults += store.check() + _strangers_faults(settings, store)
        try:
            with GalleryReader(settings.run_dir) as block:
                faults += block.check()
                faults += _differences(store, block, info)
        except RollcallError as error:
            faults.append(f"block: {error.line()}")
    finally:
        store.connection.close()
    return faults


def _strangers_faults(settings: Settings, store: Store) -> list[str]:
    """Those that are there at two looks: a stranger's picture is written a moment before its row, and goes a moment after it."""

    def look() -> list[str]:
        return Strangers(store, settings.data_dir, settings.site.keep_unknowns_days, lambda _: None).check()

    return sorted({*look()} & {*look()})


def _differences(store: Store, block: GalleryReader, info: Callable[[], dict[str, Any]]) -> list[str]:
    """Where the block does not hold what the store holds, but for what waits for room in shared memory."""
    for _ in range(_MOST_LOOKS):
        before = info()
        block.refresh()
        live, count = block.count_live(), store.count()
        faults = [] if live == count else [f"block: {live} live rows, database: {count}"]
        published = block.user_ids()
        faults += [
            f"block: {one['person']} has another user id than in the database"
            for one in store.people()
            if one["user_id"] != published.get(one["person"])
        ]
        after = info()
        if not faults or after["behind"]:
            return []
        if after["change_number"] == before["change_number"]:
            return faults
    raise TemporaryError(
        "the gallery changed again and again while it was compared with the database",
        got=f"{_MOST_LOOKS} times",
        remedy="try again when fewer people are being enrolled",
    )
