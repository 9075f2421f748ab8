"""What a group of writes changed, and what has to follow once it is committed: block, files, backup."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from shared.ipc.requests.forgetting import Forgotten
from shared.ipc.requests.strangers import StrangerForgotten
from shared.photos.kept import Kept
from shared.records import NewReference
from shared.store.saving import Saved
from shared.store.store import Store


@dataclass
class Changes:
    """What one request, or a whole group, changed.

    `steps`: the changes of references for the block, in order. Each is either what was saved, or a list of the row ids removed.
    `republish`: the block has to be made anew from the store.
    `erase`: a person or stranger was forgotten: nothing of them may stay in the WAL or in memory.
    `moves`: kept photos have to be moved to other folders.
    `people`: names whose user ids may have changed.
    `doomed`: files to be removed.
    `backup`: changes to make in the site's own backup, which could otherwise bring a forgotten person back.
    `forgotten`: (person, photo) pairs; photo None: the whole person. Copies that migrations left must not hold them.
    `promised`: answers, each with the files whose removal it reports.
    `before`: what the requests before this one in its group changed, which is not published yet.
    """

    steps: list[tuple[Saved, Sequence[NewReference]] | list[int]] = field(default_factory=list)
    republish: bool = False
    erase: bool = False
    moves: bool = False
    people: set[str] = field(default_factory=set)
    doomed: list[Kept] = field(default_factory=list)
    backup: list[Callable[[Store], object]] = field(default_factory=list)
    forgotten: list[tuple[str, str | None]] = field(default_factory=list)
    promised: list[tuple[Forgotten | StrangerForgotten, Sequence[Path]]] = field(default_factory=list)
    before: Changes | None = None

    def take(self, other: Changes) -> None:
        """Add what one request of the group changed."""
        self.steps += other.steps
        self.republish |= other.republish
        self.erase |= other.erase
        self.moves |= other.moves
        self.people |= other.people
        self.doomed += other.doomed
        self.backup += other.backup
        self.forgotten += other.forgotten
        self.promised += other.promised

    @property
    def removed(self) -> list[int]:
        """The row ids of all removed references."""
        return [row_id for step in self.steps if isinstance(step, list) for row_id in step]

    @property
    def saved(self) -> list[int]:
        """The row ids of all saved references."""
        return [row_id for step in self.steps if not isinstance(step, list) for row_id in step[0].row_ids]

    @property
    def saved_people(self) -> set[str]:
        """The names of the people of all saved references."""
        return {one.person_name for step in self.steps if not isinstance(step, list) for one in step[1]}
