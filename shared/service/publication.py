"""What was committed, brought into the gallery block: row by row, or the whole store as a new generation."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence

from shared.embeddings import UnsoundRowError, require_sound
from shared.errors import Say, disk_fault
from shared.gallery.publisher import Batch, GalleryPublisher, NoRoomError
from shared.progress import Progress
from shared.records import NewReference
from shared.service.block_differences import differences
from shared.service.changes import Changes
from shared.store.loading import set_unsound_aside, stored_batches
from shared.store.references import count_references, user_ids_of
from shared.store.saving import Saved
from shared.store.store import Store

_RETRY_S = 1.0
_LOOK_EVERY_S = 1.0  # at whether the block's files are still there
_MAX_WAITING = 100_000  # rows that are remembered one by one: for more, a new generation is not dearer


class BlockKeeper:
    """Keeps one block like one store; when shared memory has no room for that, until it has."""

    def __init__(self, store: Store, publisher: GalleryPublisher, say: Say) -> None:
        self._store, self._publisher, self._say = store, publisher, say
        # Rows that are not live yet for want of room; None: a generation has to be built, from all that is stored.
        self._waiting: set[int] | None = set()
        self._renamed: set[str] = set()  # people whose user id in the block may not be the store's
        self._retry_at = self._look_at = 0.0

    @property
    def behind(self) -> bool:
        """Whether something that was committed is not live yet."""
        return self._waiting is None or bool(self._waiting) or bool(self._renamed)

    @property
    def generation(self) -> int:
        return self._publisher.generation

    @property
    def live_rows(self) -> int:
        return self._publisher.live_rows

    def publish_everything(self, progress: Progress = lambda *_: None) -> None:
        """Load the whole store into a new generation, but for rows that are damaged: they are set aside.

        `progress` is told how many rows of how many. Raises NoRoomError or what the load raises.
        """
        try:
            self._publish_all(progress)
        except UnsoundRowError:
            self._publish_all(progress, set_unsound_aside(self._store, self._say))

    def _publish_all(self, progress: Progress, unsound: Collection[int] = ()) -> None:
        store, publisher = self._store, self._publisher
        count, done = count_references(store), 0
        if store.dim is not None:
            publisher.describe(store.dim, store.model or "", store.fingerprint or "")

        def batches() -> Iterator[Batch]:
            nonlocal done
            for batch in stored_batches(store, without=unsound):
                yield batch
                done += len(batch.row_ids)
                progress(done, count)

        publisher.publish_all(count, batches())
        self._waiting, self._renamed = set(), set()

    def doubt(self) -> None:
        """Have `tick` make the block anew from the store."""
        self._waiting = None

    def publish(self, changes: Changes) -> str | None:
        """Bring the block up to what was committed. A warning when shared memory has no room; tried again by `tick`."""
        return self._bring_up(changes) if changes.steps or changes.republish else None

    def tick(self, now: float) -> None:
        """Publish what found no room before; and everything anew when files of the block were removed."""
        if now >= self._look_at:
            self._look_at = now + _LOOK_EVERY_S
            self._heal()
        if self.behind and now >= self._retry_at:
            self._bring_up(Changes())

    def _heal(self) -> None:
        if not self._publisher.is_lost():
            return
        self._say("THE GALLERY'S FILES IN SHARED MEMORY WERE REMOVED by somebody else; the gallery is published anew")
        try:
            self._publisher.renew()
        except OSError as error:  # the run folder is gone, or shared memory full: tried again at the next look
            self._say(f"that is not possible yet: {disk_fault(error).line()}")
            return
        self.doubt()

    def _bring_up(self, changes: Changes) -> str | None:
        publisher, was_behind = self._publisher, self.behind
        try:
            if (
                changes.erase
            ):  # before anything is built: a generation that is replaced must not keep whom this one forgets
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
            self._remove(changes.removed)  # what can't be added can wait; what was removed must not answer
            publisher.erase()
            return f"stored, but not live yet: {error.line()}"
        return None

    def _holds_another_model(self) -> bool:
        return self._store.dim not in (None, self._publisher.dim)

    def _wait(self, changes: Changes) -> None:
        """Have `changes` wait for room."""
        if self._waiting is not None:
            self._waiting.update(changes.saved)
            if changes.republish or self._holds_another_model() or len(self._waiting) > _MAX_WAITING:
                self._waiting = None

    def _publish_waiting(self) -> None:
        """Publish what waits, as it is stored now. Raises NoRoomError; what was published until then waits no more."""
        if self._waiting is None:
            self.publish_everything()
            return
        try:
            for batch in stored_batches(self._store, sorted(self._waiting)):
                require_sound(batch, 0, batch.references)
                self._publisher.replace(batch)
                self._renamed.update(batch.names)
                self._waiting.difference_update(batch.row_ids)
        except UnsoundRowError:
            self.publish_everything()
            return
        self._waiting.clear()  # what is left was removed meanwhile

    def check(self) -> list[str]:
        """What is unsound in the block; that it holds what the store holds, unless it is known to be behind."""
        faults = self._publisher.check()
        if self.behind:
            return faults
        return faults + differences(self._store, self._publisher.live_rows, self._publisher.user_id)

    def _settle_user_ids(self) -> None:
        """Have the block give people the user ids that the store gives them. Raises NoRoomError."""
        for name, user_id in user_ids_of(self._store, self._renamed).items():
            self._publisher.set_user_id(name, user_id)
            self._renamed.discard(name)
        self._renamed.clear()  # the others are no more

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
        last = {
            row_id: i for i, row_id in enumerate(saved.row_ids)
        }  # of a photo saved twice in a batch the last counts
        chosen = sorted(last.values())
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
