"""What a reload does: from the old settings and the new ones to the children that stop, restart and start. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shared.settings.schema import Settings
from shared.supervision.child_kinds import KINDS, ChildKind

ChildId = tuple[str, str]  # the name of its kind, and its own


@dataclass(frozen=True)
class ReloadPlan:
    """Children by id. What is in none of the three goes on as it is."""

    stop: tuple[ChildId, ...] = ()
    restart: tuple[ChildId, ...] = ()
    start: tuple[ChildId, ...] = ()


def plan_reload(old: Settings, fresh: Settings, kinds: Sequence[ChildKind] = KINDS) -> ReloadPlan:
    """What has to be done so that a site that runs with `old` runs with `fresh`."""
    stop: list[ChildId] = []
    restart: list[ChildId] = []
    start: list[ChildId] = []
    for kind in kinds:
        if kind.ends:
            continue  # it did its work at the start
        before, after = list(kind.names(old)), list(kind.names(fresh))
        stop += [(kind.name, name) for name in before if name not in after]
        start += [(kind.name, name) for name in after if name not in before]
        restart += [
            (kind.name, name)
            for name in after
            if name in before and kind.restarts_with(old, name) != kind.restarts_with(fresh, name)
        ]
    return ReloadPlan(tuple(stop), tuple(restart), tuple(start))
