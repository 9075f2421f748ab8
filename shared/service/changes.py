"""What a group of writes did, and what is to be done once it is committed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from shared.ipc.requests import Forgotten, StrangerForgotten
from shared.photos.kept import Kept
from shared.records import NewReference
from shared.store.saving import Saved
from shared.store.store import Store


@dataclass
class Changes:
    """`steps`: what happened to the references, in order, for the block: what was saved, or the ids of what was removed.

    `republish`: the block has to be made anew from the store. `people`: whose user ids may be others now.
    `erase`: somebody was forgotten: nothing of theirs may stay in the WAL or in memory. `doomed`: files to be removed.
    `moves`: kept photos have to lie elsewhere. `backup`: what the site's own backup has to follow, or it would bring somebody back.
    `forgotten`: people, each with the one photo that is forgotten: no copy that a migration left may hold them.
    `promised`: answers that tell which of these files are still there.
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

    def take(self, other: Changes) -> None:
        """Add what a request of the group did."""
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
        return [row_id for step in self.steps if isinstance(step, list) for row_id in step]

    @property
    def saved(self) -> list[int]:
        return [row_id for step in self.steps if not isinstance(step, list) for row_id in step[0].row_ids]
