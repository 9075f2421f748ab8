"""Requests and answers: the exchange with other sites."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from shared.ipc.requests.base import Answer, Counted, Done, Request


@dataclass(frozen=True)
class RefusedItem:
    """Something that was not taken. `what`: its kind and UUID."""

    what: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class OutgoingBatch(Answer):
    """Own changes with numbers above `after` up to `through`, as items for the wire (sync/items.py). Without items there is nothing to send."""

    origin: str
    after: int
    through: int
    items: list[dict[str, Any]]
    lineage: str | None = None
    next_lineage: str = ""


@dataclass(frozen=True)
class Outgoing(Request[OutgoingBatch]):
    """The next batch for the hub, at most so many bytes as JSON. `was_too_large`: the hub did not take the last one, since it was larger
    than the hub allows; otherwise a batch that has no answer yet is sent again as it was."""

    op: ClassVar[str] = "outgoing"
    answer: ClassVar[type[Any]] = OutgoingBatch
    max_bytes: int
    was_too_large: bool = False


@dataclass(frozen=True)
class Sent(Request[Done]):
    """The hub has the last batch, but for what it refused. `through`, `lineage`: the batch's, `lineage` its next one."""

    op: ClassVar[str] = "sent"
    answer: ClassVar[type[Any]] = Done
    through: int
    lineage: str
    refused: list[RefusedItem] = field(default_factory=list)


@dataclass(frozen=True)
class Resend(Request[Done]):
    """The hub has changes of this origin up to `after` only, and `lineage` as the lineage of the last batch."""

    op: ClassVar[str] = "resend"
    answer: ClassVar[type[Any]] = Done
    origin: str
    after: int
    lineage: str | None


@dataclass(frozen=True)
class SetBack(Request[Done]):
    """The hub has less of other origins than this store read there. `behind`: these origins, and where they are."""

    op: ClassVar[str] = "set_back"
    answer: ClassVar[type[Any]] = Done
    hub: str
    behind: str


@dataclass(frozen=True)
class BeginAnew(Request[Done]):
    """The hub says that this store is a copy of another one, or was restored."""

    op: ClassVar[str] = "begin_anew"
    answer: ClassVar[type[Any]] = Done


@dataclass(frozen=True, kw_only=True)
class TakenIn(Answer):
    """`unchanged`: items that were known, or are older than what is here."""

    taken: int
    unchanged: int
    refused: list[RefusedItem]


@dataclass(frozen=True)
class TakeIn(Request[TakenIn]):
    """Apply items that came from a hub, and note the position behind them. `after`: the position that was asked for; if it is not this
    store's any more, since the store was restored meanwhile, the new one does not count."""

    op: ClassVar[str] = "take_in"
    answer: ClassVar[type[Any]] = TakenIn
    hub: str
    after: str
    position: str
    items: list[Any]


@dataclass(frozen=True)
class TakeInPlain(Request[TakenIn]):
    """Take in items of a plain server's list. `begins`: they are the first of a list."""

    op: ClassVar[str] = "take_in_plain"
    answer: ClassVar[type[Any]] = TakenIn
    items: list[Any]
    begins: bool = False


@dataclass(frozen=True, kw_only=True)
class ChangeNews(Answer):
    """Up to where the store has changed. `sighting`: the id of the last sighting."""

    change_number: int
    sighting: int


@dataclass(frozen=True)
class FollowChanges(Request[ChangeNews]):
    """Follow the store's changes: an answer now and after every further change. The connection can't be used for anything else."""

    op: ClassVar[str] = "follow_changes"
    answer: ClassVar[type[Any]] = ChangeNews


@dataclass(frozen=True, kw_only=True)
class PlainBatch(Answer):
    """References for a plain server, with change numbers up to `through`. Without items nothing is left."""

    items: list[dict[str, Any]]
    through: int


@dataclass(frozen=True)
class OutgoingPlain(Request[PlainBatch]):
    """The next references that a plain server's last list did not have, with change numbers above `after`."""

    op: ClassVar[str] = "outgoing_plain"
    answer: ClassVar[type[Any]] = PlainBatch
    after: int
    max_bytes: int


@dataclass(frozen=True)
class SentPlain(Request[Done]):
    """A plain server took the batch that begins after `after`."""

    op: ClassVar[str] = "sent_plain"
    answer: ClassVar[type[Any]] = Done
    after: int
    through: int


@dataclass(frozen=True)
class CountUnshown(Request[Counted]):
    """How many references are here that a plain server's last list did not have."""

    op: ClassVar[str] = "count_unshown"
    answer: ClassVar[type[Any]] = Counted


@dataclass(frozen=True, kw_only=True)
class OutgoingSightingsBatch(Answer):
    """Sightings of people with ids above `after` up to `through`, as documents for the hub. `through` equal to `after`: nothing is left."""

    origin: str
    after: int
    through: int
    sightings: list[dict[str, Any]]


@dataclass(frozen=True)
class OutgoingSightings(Request[OutgoingSightingsBatch]):
    """The next sightings for the hub."""

    op: ClassVar[str] = "outgoing_sightings"
    answer: ClassVar[type[Any]] = OutgoingSightingsBatch
    max_bytes: int


@dataclass(frozen=True)
class SentSightings(Request[Done]):
    """The hub has the sightings up to this id, whatever was sent before."""

    op: ClassVar[str] = "sent_sightings"
    answer: ClassVar[type[Any]] = Done
    through: int


@dataclass(frozen=True)
class Exchanged(Request[Done]):
    """An exchange came to its end. `at`: ISO 8601, UTC."""

    op: ClassVar[str] = "exchanged"
    answer: ClassVar[type[Any]] = Done
    at: str


@dataclass(frozen=True, kw_only=True)
class SyncStanding(Answer):
    """How far the exchange has come.

    `noted`: own changes up to this number are noted, as they are sent. `reasons`: why items are in quarantine, with their numbers.
    `exchanged_at`: when the last exchange came to its end. `last_tombstone`: the change number of the newest tombstone that was made here.
    """

    origin: str
    hub: str
    position: str
    noted: int
    change_number: int
    fingerprint: str | None
    quarantined: int
    reasons: dict[str, int]
    has_key: bool
    exchanged_at: str | None
    last_tombstone: int


@dataclass(frozen=True)
class SyncStatus(Request[SyncStanding]):
    op: ClassVar[str] = "sync_status"
    answer: ClassVar[type[Any]] = SyncStanding


@dataclass(frozen=True, kw_only=True)
class ElsewhereReferences(Answer):
    """The ids of references that came from other sites, and that these have as well."""

    ids: list[int]


@dataclass(frozen=True)
class FromElsewhere(Request[ElsewhereReferences]):
    op: ClassVar[str] = "from_elsewhere"
    answer: ClassVar[type[Any]] = ElsewhereReferences
