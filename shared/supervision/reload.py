"""Plans a reload: from the old and the new settings, which children stop, restart and start. Pure: it touches no process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shared.settings.schema import Settings
from shared.supervision.child_kinds import KINDS, ChildKind

ChildId = tuple[str, str]  # the name of the child's kind, and its own name


@dataclass(frozen=True)
class ReloadPlan:
    """What a reload does. Children that are in none of the three lists run on unchanged."""

    stop: tuple[ChildId, ...] = ()
    restart: tuple[ChildId, ...] = ()
    start: tuple[ChildId, ...] = ()


def plan_reload(old: Settings, fresh: Settings, kinds: Sequence[ChildKind] = KINDS) -> ReloadPlan:
    """What to do so that a site that runs with the settings `old` then runs with `fresh`."""
    stop: list[ChildId] = []
    restart: list[ChildId] = []
    start: list[ChildId] = []
    for kind in kinds:
        if kind.ends:
            continue  # it has done its work and does not run any more
        before, after = list(kind.names(old)), list(kind.names(fresh))
        stop += [(kind.name, name) for name in before if name not in after]
        start += [(kind.name, name) for name in after if name not in before]
        restart += [
            (kind.name, name)
            for name in after
            if name in before and kind.restarts_with(old, name) != kind.restarts_with(fresh, name)
        ]
    return ReloadPlan(tuple(stop), tuple(restart), tuple(start))
