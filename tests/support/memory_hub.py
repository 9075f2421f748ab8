"""A hub in memory, with the rules of the real one: what is pushed and what is pulled, without HTTP and without MongoDB.

As in the real one (workers/hub/gallery.py) every version is only inserted, and those for which another one stands are deleted.
"""

from __future__ import annotations

from typing import Any

from workers.hub.origins import is_fork
from workers.hub.positions import behind, position_of
from workers.hub.settling import useless, version_of

_Document = dict[str, Any]


class MemoryHub:
    """Versions by origin and number, and how far each origin has come."""

    def __init__(self) -> None:
        self.documents: dict[tuple[str, int], _Document] = {}
        self.origins: dict[str, tuple[int, str | None]] = {}

    def push(self, batch: _Document) -> _Document:
        """The answer to one POST of our own wire."""
        origin, following = batch["origin"], batch["next_lineage"]
        seq, lineage = self.origins.get(origin, (0, None))
        if seq < batch["after"]:
            return {"reason": "gap", "seq": seq, "lineage": lineage}
        if is_fork(lineage, batch["lineage"], following):
            return {"reason": "fork", "seq": seq, "lineage": lineage}
        if lineage != following or seq < batch["through"]:
            self.insert(batch)
            seq = max(seq, batch["through"])
            self.origins[origin] = (seq, following)
            self._settle()
        return {"seq": seq}

    def insert(self, batch: _Document) -> None:
        """Store a batch, but do not publish it."""
        for item in batch["embeddings"]:
            assert item["origin"] == batch["origin"]
            assert batch["after"] < item["seq"] <= batch["through"]
            self.documents.setdefault((item["origin"], item["seq"]), dict(item))

    def _settle(self) -> None:
        heads = {origin: seq for origin, (seq, _) in self.origins.items()}
        versions = [version_of({"kind": "reference", **one}) for one in self.documents.values()]
        for one in useless(versions, heads):
            del self.documents[one.origin, one.seq]

    def pull(self, position: str, limit: int) -> tuple[list[_Document], str, bool]:
        """Items after a position, the position after them, and whether there is more."""
        have = {origin: int(seq) for origin, _, seq in (one.partition(":") for one in position.split(",") if one)}
        found: list[_Document] = []
        more = False
        for origin in sorted(self.origins):
            high = self.origins[origin][0]
            low = have.get(origin, 0)
            mine = [self.documents[key] for key in sorted(self.documents) if key[0] == origin and low < key[1] <= high]
            room = limit - len(found)
            if len(mine) > room:
                found += mine[:room]
                more = True
                if room:
                    have[origin] = mine[room - 1]["seq"]
                continue
            found += mine
            have[origin] = max(low, high)
        return found, ",".join(f"{origin}:{have[origin]}" for origin in sorted(have)), more

    def behind(self, position: str) -> str:
        """The origins of which a reader has read more than there is, and where they are."""
        heads = {origin: seq for origin, (seq, _) in self.origins.items()}
        return ",".join(f"{origin}:{seq}" for origin, seq in behind(heads, position_of(position)).items())

    def references(self) -> set[str]:
        """The UUIDs of all references."""
        return {
            one["id"]
            for (origin, seq), one in self.documents.items()
            if one.get("kind", "reference") == "reference" and seq <= self.origins.get(origin, (0, None))[0]
        }
