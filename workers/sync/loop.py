"""The exchange that goes on: one thread takes in what changes elsewhere, one sends what changes here, one hears of changes here.

None of them holds up the others or the site. A failed exchange is tried again after a while (retrying.py).
"""

from __future__ import annotations

import contextlib
import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from shared.errors import ConfigurationError, RollcallError
from shared.ipc.client import SiteClient
from shared.ipc.following import follow_changes
from shared.ipc.requests import sync as sync_requests
from shared.ipc.requests.sync import Exchanged
from shared.settings.schema import Settings
from shared.status import ChildState, SyncStatus
from workers.sync.backend_client import TOTAL_S, BackendClient, Target, target_of
from workers.sync.exchange import Exchange
from workers.sync.faults import BackendFault, NotLetInError
from workers.sync.retrying import wait_s

_log = logging.getLogger("sync")

_LONGEST_WAIT_S = 50.0  # at the hub, for news; proxies give up after 60 s
_LEAST_WAIT_S = 2.0  # a hub behind a proxy that bears no more is asked every `interval_s`
_TOGETHER_S = 0.05  # changes that come one after the other are sent together
_SIGHTINGS_EVERY_S = 2.0
_SITES_EVERY_S = 60.0
_NOTED_EVERY_S = 10.0  # the time of the last exchange, if it only found that nothing was new
_SEEN_WITHIN = timedelta(days=30)  # sites that were not there for longer are not waited for
_STEP_S = 1.0
_HANGS_S = TOTAL_S + 120.0
_MAX_NAMED = 10
_MAX_REASONS = 5


class SyncLoop:
    """The exchange of one running site with its backend, until it is stopped."""

    def __init__(self, settings: Settings, target: Target) -> None:
        self._settings, self._target = settings, target
        self._stopping = threading.Event()
        self._changed, self._found = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._status = SyncStatus(state=ChildState.RUNNING)
        self._is_plain = False
        self._last_change = self._last_sighting = self._sent_sighting = -1
        self._alive: dict[str, float] = {}
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin. Returns at once."""
        for name, work in (("down", self._go_down), ("up", self._go_up), ("watch", self._watch)):
            thread = threading.Thread(target=work, name=f"sync-{name}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """Ask it to end. A request that is under way is not waited for: whatever becomes of it, nothing is lost."""
        self._stopping.set()
        self._changed.set()
        self._found.set()

    @property
    def status(self) -> SyncStatus:
        """How the exchange is doing."""
        with self._lock:
            return self._status

    @property
    def hangs(self) -> bool:
        """Whether one of its threads has done nothing for longer than any step takes."""
        return any(time.monotonic() - at > _HANGS_S for at in list(self._alive.values()))

    # --- down --------------------------------------------------------------------------------------------------

    def _go_down(self) -> None:
        gallery, backend = SiteClient(self._settings.run_dir), BackendClient(self._target)
        exchange = Exchange(gallery, backend, self._progress("down"))
        failures, longest_s, is_first = 0, _LONGEST_WAIT_S, True
        while not self._stopping.is_set():
            self._beat("down")
            if exchange.is_plain is not False:
                self._changed.clear()  # before the exchange, so that what changes meanwhile is not overlooked
            wait, began = 0.0 if is_first or longest_s < _LEAST_WAIT_S else longest_s, time.monotonic()
            try:
                more = exchange.pull(wait)
                self._met(gallery, exchange)
            except RollcallError as error:
                failures, is_first = failures + 1, True
                if isinstance(error, BackendFault) and wait and time.monotonic() - began > _LEAST_WAIT_S:
                    longest_s /= 2  # something on the way does not bear so long a wait
                self._failed(error, failures, backend)
                self._rest(wait_s(failures, _asked_s(error), random.random), self._stopping)  # no secret
                continue
            failures = 0
            longest_s = min(_LONGEST_WAIT_S, longest_s * 2) if wait else longest_s
            is_first = more
            if exchange.is_plain:
                self._rest(self._settings.sync.interval_s, self._changed)
            elif longest_s < _LEAST_WAIT_S and not more:
                self._rest(self._settings.sync.interval_s, self._stopping)
                longest_s = _LEAST_WAIT_S

    def _met(self, gallery: SiteClient, exchange: Exchange) -> None:
        """The backend answered: note how the exchange stands."""
        self._is_plain = bool(exchange.is_plain)
        self._found.set()
        standing = gallery.ask(sync_requests.SyncStatus())
        with self._lock:
            was_down = self._status.down_reason is not None
            self._status = replace(
                self._status,
                up=True,
                down_since=None,
                down_reason=None,
                wire="plain" if exchange.is_plain else "rollcall",
                quarantined=standing.quarantined,
                quarantine=reasons_text(standing.reasons) or None,
                has_key=standing.has_key,
                unshown=exchange.report.unshown if exchange.is_plain else None,
                received=self._status.received + exchange.report.received,
                last_sync=standing.exchanged_at,
            )
        exchange.report.received = 0
        self._note_sent(exchange)  # with a plain server one exchange goes both ways
        if was_down:
            _log.warning("the backend answers again: %s", self._target.url)
        if exchange.is_plain and exchange.report.is_whole:
            self._note_exchange(gallery)

    def _note_exchange(self, gallery: SiteClient) -> None:
        now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        gallery.ask(Exchanged(now))
        with self._lock:
            self._status = replace(self._status, last_sync=now)

    # --- up ----------------------------------------------------------------------------------------------------

    def _go_up(self) -> None:
        gallery, backend = SiteClient(self._settings.run_dir), BackendClient(self._target)
        exchange = Exchange(gallery, backend, self._progress("up"))
        failures = 0
        sightings_at = sites_at = noted_at = 0.0  # when each is due
        while not self._stopping.is_set():
            self._beat("up")
            if not self._found.wait(_STEP_S) or self._is_plain:
                self._stopping.wait(_STEP_S)  # a plain server's whole exchange is that of the other thread
                continue
            self._changed.clear()
            sighting = self._last_sighting
            try:
                exchange.push()
                if time.monotonic() >= sightings_at:
                    exchange.push_sightings()
                    sightings_at = time.monotonic() + _SIGHTINGS_EVERY_S
                    self._sent_sighting = sighting
                if self._note_sent(exchange) or time.monotonic() >= noted_at:
                    self._note_exchange(gallery)
                    noted_at = time.monotonic() + _NOTED_EVERY_S
                if time.monotonic() >= sites_at:
                    self._ask_for_sites(gallery, backend)
                    sites_at = time.monotonic() + _SITES_EVERY_S
            except RollcallError as error:
                failures += 1
                self._failed(error, failures, backend)
                self._rest(wait_s(failures, _asked_s(error), random.random), self._stopping)  # no secret
                continue
            failures = 0
            self._rest(self._until_due(sightings_at, sites_at), self._changed)
            self._stopping.wait(_TOGETHER_S)

    def _until_due(self, sightings_at: float, sites_at: float) -> float:
        """Seconds until something is due although nothing changes."""
        due = time.monotonic() + self._settings.sync.interval_s
        if self._last_sighting != self._sent_sighting:
            due = min(due, sightings_at)
        if self.status.unconfirmed is not None:
            due = min(due, sites_at)
        return max(0.0, due - time.monotonic())

    def _note_sent(self, exchange: Exchange) -> bool:
        """Count what was sent. Returns whether anything was."""
        anything = bool(exchange.report.sent or exchange.report.sightings_sent)
        with self._lock:
            self._status = replace(
                self._status,
                sent=self._status.sent + exchange.report.sent,
                sightings_sent=self._status.sightings_sent + exchange.report.sightings_sent,
            )
        exchange.report.sent = exchange.report.sightings_sent = 0
        return anything

    def _ask_for_sites(self, gallery: SiteClient, backend: BackendClient) -> None:
        """Which sites have not heard yet of what was deleted here."""
        standing = gallery.ask(sync_requests.SyncStatus())
        late = late_sites(backend.sites(), standing.origin, standing.last_tombstone, datetime.now(UTC))
        with self._lock:
            self._status = replace(self._status, unconfirmed=", ".join(late[:_MAX_NAMED]) or None)

    # --- changes here ------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        for news in follow_changes(self._settings.run_dir, lambda _: self._stopping.wait(_STEP_S)):
            if self._stopping.is_set():
                return
            is_expected = self._last_sighting != self._sent_sighting  # they go up together, when it is time
            is_news = news.change_number != self._last_change or not is_expected
            self._last_change, self._last_sighting = news.change_number, news.sighting
            if is_news:
                self._changed.set()

    # --- all ---------------------------------------------------------------------------------------------------

    def _failed(self, error: RollcallError, failures: int, backend: BackendClient) -> None:
        if isinstance(error, NotLetInError):  # the token may have been replaced
            with contextlib.suppress(ConfigurationError):
                backend.use(target_of(self._settings))
        with self._lock:
            is_news = self._status.down_reason != error.line()
            self._status = replace(
                self._status,
                up=False,
                down_since=self._status.down_since or f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
                down_reason=error.line(),
            )
        if is_news and not self._stopping.is_set():
            _log.warning("%s (try %d)", error.line(), failures)

    def _progress(self, name: str) -> Callable[[], None]:
        return lambda: self._beat(name)

    def _beat(self, name: str) -> None:
        self._alive[name] = time.monotonic()

    def _rest(self, seconds: float, until: threading.Event) -> None:
        """Wait until the event is set, or this loop is stopped, or `seconds` have passed."""
        end = time.monotonic() + seconds
        name = threading.current_thread().name.removeprefix("sync-")
        while not self._stopping.is_set() and (left := end - time.monotonic()) > 0:
            self._beat(name)
            if until.wait(min(left, 60.0)):
                return


def late_sites(sites: list[object], origin: str, newest: int, now: datetime) -> list[str]:
    """The names of sites that were there lately and have not read our changes up to `newest`. `sites`: as the hub lists them. Pure."""
    late = []
    for one in sites:
        if not isinstance(one, dict):
            continue
        name, seen_at, confirmed = (one.get(key) for key in ("site", "seen_at", "confirmed"))
        if not (isinstance(name, str) and isinstance(seen_at, str) and isinstance(confirmed, str)):
            continue
        try:
            is_lately = now - datetime.fromisoformat(seen_at) < _SEEN_WITHIN
        except (ValueError, TypeError):
            is_lately = True
        read = dict(part.split(":", 1) for part in confirmed.split(",") if ":" in part).get(origin, "0")
        if is_lately and int(read if read.isdecimal() else 0) < newest:
            late.append(name)
    return sorted(late)


def reasons_text(reasons: Mapping[str, int]) -> str:
    """The reasons of a quarantine, with how often each is given, as text. Those beyond the first are only counted. Pure."""
    ordered = sorted(reasons.items(), key=lambda each: (-each[1], each[0]))
    shown = [f"{reason} ({times})" for reason, times in ordered[:_MAX_REASONS]]
    rest = sum(times for _, times in ordered[_MAX_REASONS:])
    return "; ".join([*shown, f"other reasons ({rest})"] if rest else shown)


def _asked_s(error: RollcallError) -> float:
    return error.retry_after_s if isinstance(error, BackendFault) else 0.0
