"""Checks from another process that a running site is sound. This process reads the file and the block; the writer goes on working."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from shared.errors import RollcallError, TemporaryError
from shared.gallery.reader import GalleryReader
from shared.ipc.requests.gallery import GalleryInfo
from shared.service.block_differences import differences
from shared.settings.schema import Settings
from shared.store.check import store_faults
from shared.store.opening import open_read_only
from shared.store.store import Store
from shared.strangers.strangers import Strangers

_MAX_TRIES = 8  # to compare block and file; a comparison counts if nobody was enrolled or removed meanwhile


def check_running(settings: Settings, info: Callable[[], GalleryInfo]) -> list[str]:
    """What is unsound in the database and in the block of a running site, and where the two differ. One line for each fault.

    `info` asks the writer. When it has answered, all that the writer committed before is published. Raises RollcallError if the
    database can't be opened, and the writer does not say why.
    """
    refusal = info().nothing_stored
    try:
        store = open_read_only(settings.db_path, unwritten=bool(refusal))
    except RollcallError as error:
        if not refusal:
            raise
        return [refusal, error.line()]  # the writer knows more of it
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
    """The faults that two checks in a row find. One check alone can meet a picture file without its row, which is no fault.

    For a stranger's picture is written a moment before its row, and is removed a moment after it.
    """

    def check() -> list[str]:
        return Strangers(store, settings.data_dir, settings.site.keep_unknowns_days, lambda _: None).check()

    return sorted({*check()} & {*check()})


def _differences(store: Store, block: GalleryReader, info: Callable[[], GalleryInfo]) -> list[str]:
    """Where the block does not hold what the store holds. None while something waits for room in shared memory."""
    for _ in range(_MAX_TRIES):
        before = info()
        block.refresh()
        faults = differences(store, block.count_live() + block.count_negatives(), block.user_ids().get)
        after = info()
        if not faults or after.behind:
            return []
        if after.change_number == before.change_number:
            return faults
    raise TemporaryError(
        "the gallery changed again and again while it was compared with the database",
        got=f"{_MAX_TRIES} times",
        remedy="try again when fewer people are being enrolled",
    )
