"""Keeps the gallery block equal to the store: publishes committed changes row by row, or the whole store as a new generation."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from shared.embeddings import UnsoundRowError, require_sound
from shared.errors import Say, disk_fault
from shared.gallery.publisher import Batch, GalleryPublisher, NoRoomError
from shared.progress import Progress
from shared.records import NewReference
from shared.service.block_differences import differences
from shared.service.changes import Changes
from shared.service.negatives import negative_batches
from shared.store.corrections import count_negatives
from shared.store.loading import set_unsound_aside, stored_batches
from shared.store.references import count_references, user_ids_of
from shared.store.resemblance import Search
from shared.store.saving import Saved
from shared.store.set_aside import aside_among, count_aside
from shared.store.store import Store

_RETRY_S = 1.0
_CHECK_FILES_S = 1.0  # how often to check whether the block's files are still there
_MAX_WAITING = 100_000  # rows remembered one by one; for more rows a new generation costs no more


class BlockKeeper:
    """Keeps one block equal to one store. While shared memory has no room, it retries until there is room."""

    def __init__(self, store: Store, publisher: GalleryPublisher, say: Say) -> None:
        self._store, self._publisher, self._say = store, publisher, say
        # Ids of rows that wait for room. None: a new generation has to be built from the whole store.
        self._waiting: set[int] | None = set()
        self._renamed: set[str] = set()  # people whose user id in the block may differ from the store's
        self._retry_at = self._check_files_at = 0.0

    @property
    def behind(self) -> bool:
        """Whether a committed change is not live yet."""
        return self._waiting is None or bool(self._waiting) or bool(self._renamed)

    @property
    def generation(self) -> int:
        """Number of the block's current generation."""
        return self._publisher.generation

    @property
    def live_references(self) -> int:
        """How many references the block has published that are not dead."""
        return self._publisher.live_references

    @property
    def search(self) -> Search | None:
        """The search in the block. None while the block does not hold what the store has committed."""
        if self.behind or not self.is_published or self._holds_another_model():
            return None
        return self._search

    def _search(self, vector: NDArray[np.float32], k: int) -> list[tuple[str, float]]:
        return [(one.person, one.score) for one in self._publisher.match(vector[None], k)[0]]

    @property
    def is_published(self) -> bool:
        """Whether there is a block already. While the writer starts, there is none."""
        return self._publisher.is_published

    def publish_everything(self, progress: Progress = lambda *_: None) -> None:
        """Load the whole store, without references that are set aside, into a new generation. Damaged rows are moved to `left_out`.

        Calls `progress(rows done, rows in all)`. Raises NoRoomError, or RollcallError if the store can't be read.
        """
        try:
            self._publish_all(progress)
        except UnsoundRowError:
            self._publish_all(progress, set_unsound_aside(self._store, self._say))

    def _publish_all(self, progress: Progress, unsound: Collection[int] = ()) -> None:
        store, publisher = self._store, self._publisher
        count, done = count_references(store) - count_aside(store) + count_negatives(store), 0
        if store.dim is not None:
            publisher.describe(store.dim, store.model or "", store.fingerprint or "")

        def batches() -> Iterator[Batch]:
            nonlocal done
            for batch in chain(stored_batches(store, without=unsound), negative_batches(store)):
                yield batch
                done += len(batch.row_ids)
                progress(done, count)

        publisher.publish_all(count, batches())
        self._waiting, self._renamed = set(), set()

    def doubt(self) -> None:
        """Have `tick` make the block anew from the store."""
        self._waiting = None

    def publish(self, changes: Changes) -> str | None:
        """Bring committed changes into the block. Returns a warning if shared memory has no room for them; then `tick` retries."""
        return self._bring_up(changes) if changes.steps or changes.republish else None

    def tick(self, now: float) -> None:
        """Retry what found no room, and publish everything anew if files of the block were removed. `now`: time.monotonic()."""
        if now >= self._check_files_at:
            self._check_files_at = now + _CHECK_FILES_S
            self._heal()
        if self.behind and now >= self._retry_at:
            self._bring_up(Changes())

    def _heal(self) -> None:
        if not self._publisher.is_lost():
            return
        self._say("THE GALLERY'S FILES IN SHARED MEMORY WERE REMOVED by another program; the gallery is published anew")
        try:
            self._publisher.renew()
        except OSError as error:  # the run folder is gone, or shared memory is full: the next check retries
            self._say(f"the gallery can't be published anew yet: {disk_fault(error).line()}")
            return
        self.doubt()

    def _bring_up(self, changes: Changes) -> str | None:
        publisher, was_behind = self._publisher, self.behind
        try:
            if changes.erase:
                # Before a new generation is built: readers use the old one for a while, and must not find the forgotten in it.
                self._remove(changes.removed)
                publisher.erase()
            if was_behind or changes.republish or self._holds_another_model():
                self._wait(changes)
                self._remove(changes.removed)
                self._publish_waiting()
            else:
                self._publish_steps(changes)
            self._renamed |= changes.people
            self._settle_user_ids()
            if changes.erase:
                publisher.erase()
            publisher.compact_if_wasteful()
        except NoRoomError as error:
            if not was_behind:
                self._say(f"NOT LIVE YET: {error.line()}")
            self._wait(changes)
            self._retry_at = time.monotonic() + _RETRY_S
            self._remove(changes.removed)  # additions can wait for room; removed rows must stop matching at once
            publisher.erase()
            return f"stored, but not live yet: {error.line()}"
        return None

    def _holds_another_model(self) -> bool:
        return self._store.dim not in (None, self._publisher.dim)

    def _wait(self, changes: Changes) -> None:
        """Remember `changes` until there is room."""
        if self._waiting is not None:
            self._waiting.update(changes.saved)
            self._renamed |= changes.saved_people
            if changes.republish or self._holds_another_model() or len(self._waiting) > _MAX_WAITING:
                self._waiting = None

    def _publish_waiting(self) -> None:
        """Publish the waiting rows as they are stored now. Raises NoRoomError; the rows published by then are waiting no more."""
        if self._waiting is None:
            self.publish_everything()
            return
        try:
            waiting = sorted(self._waiting)
            for batch in chain(stored_batches(self._store, waiting), negative_batches(self._store, waiting)):
                require_sound(batch, 0, batch.references)
                self._publisher.replace(batch)
                self._renamed.update(batch.names)
                self._waiting.difference_update(batch.row_ids)
        except UnsoundRowError:
            self.publish_everything()
            return
        self._waiting.clear()  # the rest was deleted from the store, or set aside, meanwhile

    def check(self) -> list[str]:
        """What is unsound in the block, one line for each fault. It must also hold what the store holds, unless it is `behind`."""
        faults = self._publisher.check()
        if self.behind:
            return faults
        return faults + differences(self._store, self._publisher.live_rows, self._publisher.user_id)

    def _settle_user_ids(self) -> None:
        """Bring the store's user ids of the people in `_renamed` into the block. Raises NoRoomError."""
        for name, user_id in user_ids_of(self._store, self._renamed).items():
            self._publisher.set_user_id(name, user_id)
            self._renamed.discard(name)
        self._renamed.clear()  # the rest is not enrolled any more

    def _publish_steps(self, changes: Changes) -> None:
        for step in changes.steps:
            if isinstance(step, list):
                self._remove(step)
            else:
                self._publish_saved(*step)

    def _remove(self, row_ids: list[int]) -> None:
        if row_ids:
            self._publisher.remove(row_ids)

    def _publish_saved(self, saved: Saved, references: Sequence[NewReference]) -> None:
        # If a batch saves one photo twice, the last one counts.
        last = {row_id: i for i, row_id in enumerate(saved.row_ids)}
        aside = aside_among(self._store, last)
        # A reference that is set aside stays out, but its person's user id may be another one now.
        self._renamed.update(references[last[row_id]].person_name for row_id in aside)
        chosen = sorted(i for row_id, i in last.items() if row_id not in aside)
        if not chosen:
            return
        names = [references[i].person_name for i in chosen]
        users = user_ids_of(self._store, set(names))
        self._renamed.update(name for name in users if self._publisher.user_id(name) is not None)
        batch = Batch(
            [saved.row_ids[i] for i in chosen], names, [users.get(name) for name in names], saved.vectors[chosen]
        )
        if any(saved.replaced):
            self._publisher.replace(batch)
        else:
            self._publisher.append(batch)
