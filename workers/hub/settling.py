"""Which versions of a thing are of no use any more. Pure.

All versions of a thing are kept until another one, which every reader gets, stands for them. Rules:

- Of the versions of one thing, the one with the greatest (revision, author, seq) stands for all. A reference under two models is two things.
- A deletion stands for every version of its reference, of every model and any revision.
- A person that was forgotten stands for references of that person whose site did not know of the forgetting. An older version of such a
  reference, which tells another person, can come to light by that; the site whose version went sends the deletion of the reference.

A version that is not published yet stands for none: if its site never sends the rest of its batch, nobody will ever get it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from workers.hub.items import Kind
from workers.hub.positions import Position


class Version(NamedTuple):
    """An item without its contents."""

    id: str
    kind: str
    model: str | None
    revision: int
    origin: str
    seq: int
    person_id: str | None
    knows: int
    author: str | None

    @property
    def document_id(self) -> str:
        return f"{self.origin}:{self.seq}"

    @property
    def _thing(self) -> tuple[str, str, str | None]:
        return self.id, self.kind, self.model

    @property
    def _order(self) -> tuple[int, str, int]:
        return self.revision, self.author or self.origin, self.seq

    def stands_for(self, other: Version) -> bool:
        """Whether a reader who has this version does not need the other one."""
        if self.kind == Kind.DELETED and other.kind == Kind.REFERENCE:
            return self.id == other.id
        if self.kind == Kind.FORGOTTEN and other.kind == Kind.REFERENCE:
            return self.person_id is not None and self.person_id == other.person_id and other.knows < self.revision
        return self._thing == other._thing and self._order > other._order

    def is_published(self, heads: Position) -> bool:
        return self.seq <= heads.get(self.origin, 0)


# The fields of a document that a version is made from.
FIELDS = dict.fromkeys(("id", "kind", "model", "revision", "origin", "seq", "person_id", "knows", "author"), True)


def version_of(document: Mapping[str, Any]) -> Version:
    return Version(
        document["id"],
        document["kind"],
        document.get("model"),
        document["revision"],
        document["origin"],
        document["seq"],
        document.get("person_id"),
        document.get("knows", 0),
        document.get("author"),
    )


def useless(versions: Iterable[Version], heads: Position) -> list[Version]:
    """Those for which a published one stands. `versions`: all of some ids, and the forgettings of their people."""
    by_id: defaultdict[str, list[Version]] = defaultdict(list)
    by_person: defaultdict[str, list[Version]] = defaultdict(list)
    known = set(versions)
    for one in known:
        if one.is_published(heads):
            by_id[one.id].append(one)
            if one.kind == Kind.FORGOTTEN and one.person_id is not None:
                by_person[one.person_id].append(one)
    return [
        one
        for one in known
        if any(other.stands_for(one) for other in (*by_id[one.id], *by_person.get(one.person_id or "", ())))
    ]
