"""One site's exchange with a backend: what changed here goes up, what changed elsewhere comes down. It keeps nothing itself: how far the
exchange has come is in the store, and is written together with what it says.

A backend that answers without a position knows the plain wire only (docs/sync.md): then lists are compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Any, Protocol, TypeVar

from shared.errors import RefusedError
from shared.ipc.requests.base import Answer_co, Request
from shared.ipc.requests.sync import (
    BeginAnew,
    CountUnshown,
    Outgoing,
    OutgoingBatch,
    OutgoingPlain,
    OutgoingSightings,
    RefusedItem,
    Resend,
    Sent,
    SentPlain,
    SentSightings,
    SetBack,
    SyncStanding,
    SyncStatus,
    TakeIn,
    TakeInPlain,
    TakenIn,
)
from shared.sync.hybrid_clock import MAX_REVISION
from workers.sync.ahead import Ahead
from workers.sync.backend_client import BackendClient, Page, PlainList
from workers.sync.faults import BackendFault, BatchRefusedError
from workers.sync.report import Report

BATCH_BYTES = 90_000  # stock Express servers refuse more than 100 kB
_LEAST_BATCH_BYTES = 1000
_ITEMS_AT_ONCE = 64  # so that a camera's enrolment does not wait behind a first pull
_NOTED_AT_ONCE = 1000
_MAX_BATCHES = 1_000_000  # of one exchange: more than any gallery has
_MAX_TIMES_ANEW = 3
_T = TypeVar("_T")


class Gallery(Protocol):
    """The site's writer, or its database while no site runs."""

    def ask(self, request: Request[Answer_co]) -> Answer_co: ...


class Exchange:
    """The exchange of one gallery with one backend. Use it from one thread. All of it raises RollcallError; BackendFault if the backend is the
    reason."""

    def __init__(self, gallery: Gallery, backend: BackendClient, progress: Callable[[], None] = lambda: None) -> None:
        """`progress`: called between steps of long work. It may raise to end the work; nothing is lost by it."""
        self._gallery, self._backend, self._progress = gallery, backend, progress
        self._batch_bytes = BATCH_BYTES
        self._tag: str | None = None
        self._ahead: tuple[tuple[str, str], Ahead[Page | PlainList | None]] | None = None
        self.is_plain: bool | None = None  # whether the backend knows the plain wire only; None: not known yet
        self.report = Report()

    def run(self) -> Report:
        """One whole exchange. Returns what it did."""
        self.report = Report()
        requests_before, sent_before, received_before = (
            self._backend.requests, self._backend.sent_bytes, self._backend.received_bytes,
        )  # fmt: skip  # one tuple
        while self.pull(0.0):
            self._progress()
        if not self.is_plain:
            self.push()
            self.push_sightings()
        self.report.requests = self._backend.requests - requests_before
        self.report.sent_bytes = self._backend.sent_bytes - sent_before
        self.report.received_bytes = self._backend.received_bytes - received_before
        return self.report

    # --- down --------------------------------------------------------------------------------------------------

    def pull(self, wait_s: float) -> bool:
        """Take in what is new. Waits at our own hub up to `wait_s` for it. Returns whether there is more. With a plain server this is the whole
        exchange."""
        standing = self._gallery.ask(SyncStatus())
        if not standing.origin:
            self._gallery.ask(Outgoing(self._batch_bytes))  # the store gives itself a name
            standing = self._gallery.ask(SyncStatus())
        if standing.fingerprint is None:
            raise RefusedError(
                "the gallery has no model yet",
                expected="a site that has run once",
                remedy="start the site: supervisor.py run",
            )
        position = _with_own(standing.position, standing.origin)
        answer = self._page(position, standing.fingerprint, wait_s)
        if answer is None:
            return False
        if isinstance(answer, PlainList):
            self.is_plain = True
            self._exchange_plain(answer)
            return False
        self.is_plain = False
        if answer.behind:  # the hub was restored from a backup: from there on it is read, and sent, again
            self._gallery.ask(SetBack(answer.hub, answer.behind))
            self._tag = None
            return True
        if answer.more:
            self._ask_ahead(_with_own(answer.position, standing.origin), standing.fingerprint)
        self._take(standing, answer)
        self._tag = answer.tag
        return answer.more

    def _page(self, position: str, model: str, wait_s: float) -> Page | PlainList | None:
        """The next page: the one that was asked for while the last one was taken in, or another one if that is not wanted any more."""
        (asked, ahead), self._ahead = self._ahead or (None, None), None
        if ahead is not None:
            answer = ahead.result()  # also if it is not wanted: the client serves one request at a time
            if asked == (position, model):
                return answer
        return self._backend.page(position, model, wait_s, self._tag)

    def _ask_ahead(self, position: str, model: str) -> None:
        """Have the hub make the next page while this one is taken in."""
        call = partial(self._backend.page, position, model, 0.0, None)
        self._ahead = (position, model), Ahead(call)

    def _take(self, standing: SyncStanding, page: Page) -> None:
        position = standing.position
        if standing.hub and page.hub != standing.hub:
            # Another database: it has nothing of what was sent, and its positions mean something else.
            self._gallery.ask(Resend(standing.origin, 0, None))
            self._gallery.ask(SentSightings(0))
            self._gallery.ask(TakeIn(page.hub, position, "", []))
            self._tag = None
            raise BackendFault(
                "the backend has another database than before; everything is exchanged again", where=self._backend.where
            )
        if page.items:
            self._note_own()
        self.report.received += len(page.items)
        for chunk, is_last in _chunks(page.items):
            taken = self._gallery.ask(TakeIn(page.hub, position, page.position if is_last else position, chunk))
            self._note_taken(taken)
            self._progress()

    def _note_own(self) -> None:
        """Have own changes noted a thousand at a time. Taking in would note them all in one go, and enrolments would wait."""
        noted = -1
        for _ in range(_MAX_BATCHES):
            standing = self._gallery.ask(SyncStatus())
            if standing.noted == noted or standing.change_number - standing.noted <= _NOTED_AT_ONCE:
                return
            noted = standing.noted
            self._gallery.ask(Outgoing(self._batch_bytes))
            self._progress()

    def _note_taken(self, taken: TakenIn) -> None:
        self.report.taken += taken.taken
        for one in taken.refused:
            self.report.note_refused(self.report.refused_here, one.reason)

    # --- up ----------------------------------------------------------------------------------------------------

    def push(self) -> None:
        """Send everything that changed here."""
        times_anew, was_too_large = 0, False
        for _ in range(_MAX_BATCHES):
            batch = self._gallery.ask(Outgoing(self._batch_bytes, was_too_large))
            was_too_large = False
            if not batch.next_lineage:
                return
            try:
                answer = self._backend.push(_document(batch, batch.items))
                refused = [_refused(one) for one in _list(answer, "refused")]
            except BatchRefusedError as error:
                if self._cut_smaller(len(batch.items)):
                    was_too_large = True
                    continue
                # The backend does not take even this one. It gets the number without the item.
                answer = self._backend.push(_document(batch, []))
                refused = [RefusedItem(_name(one), error.line()[:200]) for one in batch.items]
            if answer.get("reason") == "gap":
                self._gallery.ask(Resend(batch.origin, _number(answer, "seq"), answer.get("lineage")))
                times_anew += 1
            elif answer.get("reason") == "fork":
                self._gallery.ask(BeginAnew())
                self._tag = None
                times_anew += 1
            else:
                self._gallery.ask(Sent(batch.through, batch.next_lineage, refused))
                self._note_sent(len(batch.items), refused)
                self._batch_bytes = min(BATCH_BYTES, self._batch_bytes * 2)
            if times_anew > _MAX_TIMES_ANEW:
                raise BackendFault(
                    "the backend refuses what this site sends again and again", where=self._backend.where
                )
            self._progress()

    def _cut_smaller(self, items: int) -> bool:
        """Halve the batches. Returns False if they can't be smaller."""
        if items <= 1 or self._batch_bytes <= _LEAST_BATCH_BYTES:
            return False
        self._batch_bytes //= 2
        return True

    def _note_sent(self, items: int, refused: list[RefusedItem]) -> None:
        self.report.sent += items - len(refused)
        for one in refused:
            self.report.note_refused(self.report.refused_there, one.reason)

    def push_sightings(self) -> None:
        """Send the sightings that the hub does not have, in their order."""
        times_anew = 0
        for _ in range(_MAX_BATCHES):
            batch = self._gallery.ask(OutgoingSightings(self._batch_bytes))
            if batch.through == batch.after:
                return
            answer = self._backend.push_sightings(
                {"origin": batch.origin, "after": batch.after, "through": batch.through, "sightings": batch.sightings}
            )
            if answer.get("reason") == "fork":
                self._gallery.ask(BeginAnew())
                times_anew += 1
            elif answer.get("reason") == "gap":
                self._gallery.ask(SentSightings(_number(answer, "seq")))
                times_anew += 1
            else:
                self._gallery.ask(SentSightings(batch.through))
                refused = _list(answer, "refused")
                self.report.sightings_sent += len(batch.sightings) - len(refused)
                for one in refused:
                    self.report.note_refused(self.report.refused_there, f"a sighting: {_refused(one).reason}")
            if times_anew > _MAX_TIMES_ANEW:
                raise BackendFault(
                    "the backend refuses this site's sightings again and again", where=self._backend.where
                )
            self._progress()

    # --- a server that knows the plain wire only ---------------------------------------------------------------

    def _exchange_plain(self, answer: PlainList) -> None:
        self._take_plain(answer)
        if self._push_plain():
            # Only its list tells whether it kept what it took.
            again = self._backend.page("", self._fingerprint(), 0.0, None)
            if isinstance(again, PlainList):
                self._take_plain(again)
        self.report.unshown = self._gallery.ask(CountUnshown()).count

    def _fingerprint(self) -> str:
        return self._gallery.ask(SyncStatus()).fingerprint or ""

    def _take_plain(self, answer: PlainList) -> None:
        begins = True
        for chunk in _batched(answer.items, _ITEMS_AT_ONCE):
            self.report.received += len(chunk)
            self._note_taken(self._gallery.ask(TakeInPlain(chunk, begins)))
            begins = False
            self._progress()
        if begins:
            self._gallery.ask(TakeInPlain([], begins))

    def _push_plain(self) -> bool:
        """Send what the server's list did not have. Returns whether anything was sent."""
        after, is_any_sent = 0, False
        for _ in range(_MAX_BATCHES):
            batch = self._gallery.ask(OutgoingPlain(after, self._batch_bytes))
            if not batch.items:
                break
            try:
                self._backend.push({"embeddings": batch.items})
            except BatchRefusedError as error:
                if self._cut_smaller(len(batch.items)):
                    continue
                self.report.note_refused(self.report.refused_there, error.line()[:200])
            else:
                self.report.sent += len(batch.items)
                is_any_sent = True
            self._gallery.ask(SentPlain(after, batch.through))
            after = batch.through
            self._progress()
        return is_any_sent


def _document(batch: OutgoingBatch, items: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "origin": batch.origin,
        "after": batch.after,
        "through": batch.through,
        "lineage": batch.lineage,
        "next_lineage": batch.next_lineage,
        "embeddings": items,
    }


def _with_own(position: str, origin: str) -> str:
    """A position that leaves out this store's own changes."""
    others = [one for one in position.split(",") if one and one.partition(":")[0] != origin]
    own = [f"{origin}:{MAX_REVISION - 1}"] if origin else []
    return ",".join(sorted(others + own))


def _chunks(items: list[Any]) -> Iterator[tuple[list[Any], bool]]:
    """The items a few at a time, and whether these are the last. One empty chunk if there are none: the position moves all the same."""
    for at in range(0, max(len(items), 1), _ITEMS_AT_ONCE):
        yield items[at : at + _ITEMS_AT_ONCE], at + _ITEMS_AT_ONCE >= len(items)


def _batched(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    them = iter(items)
    while chunk := list(islice(them, size)):
        yield chunk


def _list(answer: dict[str, Any], key: str) -> list[Any]:
    value = answer.get(key)
    return value if isinstance(value, list) else []


def _number(answer: dict[str, Any], key: str) -> int:
    value = answer.get(key)
    return value if type(value) is int and value >= 0 else 0


def _refused(one: Any) -> RefusedItem:
    reason = one.get("reason") if isinstance(one, dict) else None
    return RefusedItem(_name(one), str(reason)[:200])


def _name(one: Any) -> str:
    if not isinstance(one, dict):
        return "reference ?"
    return f"{one.get('kind') or 'reference'} {one.get('id')}"[:80]
