"""Follows sightings as the writer stores them: in order, each once, also when the writer restarts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

from shared.errors import RollcallError
from shared.events import Sighting
from shared.ipc import wire
from shared.ipc.client import REQUEST_TIMEOUT_S, SiteClient
from shared.ipc.requests.sightings import Follow, Sightings
from shared.ipc.requests.sync import ChangeNews, FollowChanges

_RETRY_S = 0.2
_LAST_EVENTS_S = 5.0


def follow(run_dir: Path, after_id: int, timeout_s: float | None) -> Iterator[Sighting]:
    """Yield sightings with id > `after_id` as they come.

    Raises ConnectionError when the site stops, and TimeoutError when no sighting comes for `timeout_s`.
    """
    connection = wire.connect(run_dir, REQUEST_TIMEOUT_S)
    try:
        connection.sendall(wire.encode({"op": Follow.op, "arguments": Follow(after_id).to_wire()[0]}))
        connection.settimeout(timeout_s)
        buffer = wire.MessageBuffer()
        while True:
            document, _ = wire.receive(connection, buffer)
            wire.raise_error(document)
            yield from (Sighting.from_json(one) for one in document["events"])
    finally:
        connection.close()


def follow_across_restarts(run_dir: Path, after_id: int, give_up: Callable[[Exception], bool]) -> Iterator[Sighting]:
    """Yield sightings with id > `after_id` as they come, each once.

    When the writer is gone or refuses, `give_up` is called with the error. It may wait, or raise. If it returns True, the iteration
    ends.
    """
    while True:
        try:
            for event in follow(run_dir, after_id, None):
                after_id = event.id
                yield event
        except (OSError, RollcallError) as error:
            if give_up(error):
                return


def follow_changes(run_dir: Path, give_up: Callable[[Exception], bool]) -> Iterator[ChangeNews]:
    """Yield up to where the store has changed: now, and after every further change. `give_up`: as in `follow_across_restarts`."""
    while True:
        try:
            yield from _news(run_dir)
        except (OSError, RollcallError) as error:
            if give_up(error):
                return


def _news(run_dir: Path) -> Iterator[ChangeNews]:
    connection = wire.connect(run_dir, REQUEST_TIMEOUT_S)
    try:
        connection.sendall(wire.encode({"op": FollowChanges.op, "arguments": {}}))
        connection.settimeout(None)
        buffer = wire.MessageBuffer()
        while True:
            document, _ = wire.receive(connection, buffer)
            wire.raise_error(document)
            yield ChangeNews.from_json(document)
    finally:
        connection.close()


def find_last_id(run_dir: Path, give_up: Callable[[Exception], bool]) -> int | None:
    """The id of the last sighting, as soon as the writer answers. `give_up`: as in `follow_across_restarts`; None if it returned True."""
    while True:
        client = SiteClient(run_dir, patience_s=0.0)
        try:
            return client.ask(Sightings(limit=0)).last_id
        except (OSError, RollcallError) as error:
            if give_up(error):
                return None
        finally:
            client.close()


class EventStream:
    """Calls `on_event` on a thread for every sighting that is stored while the context is open. Leaving it waits for the last ones.

    Leave it after the writer was stopped. The stream ends when the writer has stored everything and closes the connection.
    """

    def __init__(self, run_dir: Path, on_event: Callable[[Sighting], None]) -> None:
        self._run_dir, self._on_event = run_dir, on_event
        self._leaving, self._began = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._follow, name="event-stream", daemon=True)

    def __enter__(self) -> EventStream:
        self._thread.start()
        return self

    @property
    def following(self) -> bool:
        """Whether `on_event` will be called for every sighting from now on."""
        return self._began.is_set()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leaving.set()
        self._thread.join(_LAST_EVENTS_S)

    def _follow(self) -> None:
        # On the stream's own thread, since a writer that hangs would block the caller.
        last_id = find_last_id(self._run_dir, self._give_up)
        if last_id is None:
            return
        self._began.set()
        for event in follow_across_restarts(self._run_dir, last_id, self._give_up):
            self._on_event(event)

    def _give_up(self, _: Exception) -> bool:
        return self._leaving.wait(_RETRY_S)
