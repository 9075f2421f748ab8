"""Who the people are, as a function of what all sites know: so all sites show the same people, in whatever order they heard of them.

Two things are known of a person, who has a UUID:
- what each reference of theirs tells: the name and the user id that its site knew when it saved the reference;
- a register, if somebody changed the person afterwards: a name, a user id, and whom the person was merged into.

The newest version of each counts. Whoever has no reference counts for nothing. The rest is computed:
- a person who was merged is the one they were merged into; of a circle, which two sites can make at once, the smallest UUID stays;
- a person has the name of the register, else the one that the newest reference tells; references of those who were merged into the person
  count only if there are no others. So with the user id, but that references that tell none do not count;
- people of one name are one person, whose UUID is the smallest of theirs: two sites enrolled the same person;
- unless their user ids differ. Then there is one person for each user id. The one with the smallest UUID keeps the name, and the others
  have their user id behind it. Whoever has no user id belongs to the first of those who have.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from shared.person_names import name_key, unfitness
from shared.sync.hybrid_clock import Version

_SUFFIXED = re.compile(r"(.+) \([^()]*\)")
_UUID_TAIL = 12  # characters of a UUID that tell two people apart


@dataclass(frozen=True)
class Register:
    """What was noted of one UUID. `name`: None if the person is gone; then references tell it."""

    uuid: str
    name: str | None
    user_id: str | None = None
    merged_into: str | None = None


@dataclass(frozen=True)
class Told:
    """What a reference tells of its person, whose UUID is `person`. `version`: the reference's."""

    person: str
    name: str
    user_id: str | None
    version: Version


@dataclass(frozen=True)
class Shown:
    """A person as a site shows them. `own_name`: the name without a user id behind it. `shares_name`: somebody else has that name."""

    uuid: str
    name: str
    user_id: str | None
    own_name: str
    shares_name: bool = False


def root_of(registers: Mapping[str, Register], uuid: str) -> str:
    """The UUID of the person that this one is now."""
    path: list[str] = []
    while uuid not in path:
        path.append(uuid)
        known = registers.get(uuid)
        if known is None or known.merged_into is None:
            return uuid
        uuid = known.merged_into
    return min(path[path.index(uuid) :])


def looks_of(name: str, user_id: str | None) -> set[str]:
    """The keys of names under which somebody can be found who decides on how this person is shown."""
    looks = {name_key(name)}
    if user_id is not None:
        looks.add(name_key(f"{name} ({user_id})"))
    if suffixed := _SUFFIXED.fullmatch(name_key(name)):
        looks.add(name_key(suffixed[1]))
    return looks


def shown_people(registers: Mapping[str, Register], told: Iterable[Told]) -> dict[str, Shown]:
    """Whom a site shows for each UUID here, if the person has references.

    `registers`, `told`: of everybody who has to do with them: see `looks_of` and `Register.merged_into`.
    """
    of_root: dict[str, list[Told]] = defaultdict(list)
    roots = {uuid: root_of(registers, uuid) for uuid in registers}
    for one in told:
        of_root[roots.setdefault(one.person, root_of(registers, one.person))].append(one)
    by_name: dict[str, list[Register]] = defaultdict(list)
    for uuid in sorted(of_root):
        known = _effective(uuid, registers.get(uuid), of_root[uuid])
        by_name[name_key(str(known.name))].append(known)
    shown: dict[str, Shown] = {}
    taken = set(by_name)
    for looks in sorted(by_name):
        shown |= _of_one_name(by_name[looks], taken)
    return shown | {uuid: shown[root] for uuid, root in roots.items() if root in shown}


def _effective(uuid: str, register: Register | None, told: list[Told]) -> Register:
    """What counts of a person who has references."""
    newest_first = sorted(told, key=lambda one: (one.person == uuid, one.version), reverse=True)
    name, user_id = (None, None) if register is None else (register.name, register.user_id)
    if user_id is None:
        user_id = next((one.user_id for one in newest_first if one.user_id is not None), None)
    return Register(uuid, name or newest_first[0].name, user_id)


def _of_one_name(same: list[Register], taken: set[str]) -> dict[str, Shown]:
    """Whom a site shows for these people, who have one name and are in the order of their UUIDs. `taken`: the names of others."""
    groups: dict[str | None, list[Register]] = {}
    for one in same:
        if one.user_id is not None:
            groups.setdefault(one.user_id, []).append(one)
    if not groups:
        groups[None] = []
    first = next(iter(groups))
    groups[first] = sorted([*groups[first], *(one for one in same if one.user_id is None)], key=lambda one: one.uuid)
    name = str(same[0].name)
    found: dict[str, Shown] = {}
    for user_id, members in sorted(groups.items(), key=lambda group: group[1][0].uuid):
        uuid = members[0].uuid
        own = name if not found else _with_suffix(name, str(user_id), uuid, taken)
        found |= {one.uuid: Shown(uuid, own, user_id, name, len(groups) > 1) for one in members}
    return found


def _with_suffix(name: str, user_id: str, uuid: str, taken: set[str]) -> str:
    """The name of the second person who has it. Notes it in `taken`."""
    chosen = f"{name} ({user_id})"
    if unfitness(chosen) or name_key(chosen) in taken:
        chosen = f"{name[:40]} ({uuid[-_UUID_TAIL:]})"
    taken.add(name_key(chosen))
    return chosen
