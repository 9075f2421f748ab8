"""Proves a running site sound from outside: the file and the block are read by whoever asks, and the writer goes on with its work."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from shared.errors import RollcallError, TemporaryError
from shared.gallery.reader import GalleryReader
from shared.ipc.requests import GalleryInfo
from shared.service.block_differences import differences
from shared.settings.schema import Settings
from shared.store.check import store_faults
from shared.store.opening import open_read_only
from shared.store.store import Store
from shared.strangers.strangers import Strangers

_MAX_LOOKS = 8  # at whether block and file agree; each needs a moment in which nobody was enrolled or removed


def check_running(settings: Settings, info: Callable[[], GalleryInfo]) -> list[str]:
    """Everything unsound in the database and in the block of a running site, and where the two differ, one line each.

    `info`: the writer's answer to `info`; once it answers, what it has committed is published. Raises RollcallError for a
    database that can't be opened.
    """
    refusal = info().nothing_stored
    store = open_read_only(settings.db_path, unwritten=bool(refusal))
    try:
        faults = [refusal] if refusal else []
        faults += store_faults(store)
        try:
            faults += _strangers_faults(settings, store)
            with GalleryReader(settings.run_dir) as block:
                faults += block.check()
                faults += _differences(store, block, info)
        except sqlite3.Error as error:  # a damaged file can't be read to its end
            fault = store.explained(error).line()
            faults += [] if fault in faults else [fault]
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


def _differences(store: Store, block: GalleryReader, info: Callable[[], GalleryInfo]) -> list[str]:
    """Where the block does not hold what the store holds, but for what waits for room in shared memory."""
    for _ in range(_MAX_LOOKS):
        before = info()
        block.refresh()
        faults = differences(store, block.count_live(), block.user_ids().get)
        after = info()
        if not faults or after.behind:
            return []
        if after.change_number == before.change_number:
            return faults
    raise TemporaryError(
        "the gallery changed again and again while it was compared with the database",
        got=f"{_MAX_LOOKS} times",
        remedy="try again when fewer people are being enrolled",
    )
