"""Who asks the writer, before a small one on a real socket: a broken connection, silence, an end; and a camera never waits."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.errors import RefusedError, RollcallError, TemporaryError
from shared.events import Event
from shared.files.private_folder import make_private_folder
from shared.ipc import wire
from shared.ipc.client import SiteClient, site_is_running
from shared.ipc.event_sender import EventSender
from shared.ipc.requests.base import Request
from shared.ipc.requests.forgetting import Forget
from shared.ipc.requests.gallery import Restore
from shared.ipc.requests.model import SwitchModel
from shared.ipc.requests.people import Merge, Rename, UndoPeople
from shared.ipc.requests.references import Count, References, Save
from shared.ipc.requests.sightings import Record, Sightings
from shared.ipc.requests.table import request_of
from shared.model_id import ModelId
from shared.records import NewReference
from shared.service.service import StoreService
from shared.uuid7 import new_uuids
from tests.support.clips import wait_until
from tests.support.eight_threads import eight_threads
from tests.support.stores import service_of, store_in
from tests.support.vectors import noise

_DIM = 16
_SWITCH = SwitchModel(ModelId.parse("test/other", "e" * 64, _DIM), [])


class Fate(Enum):
    """What becomes of a request that has come."""

    ANSWERED = "carried out and answered"
    LOST = "not carried out: the connection breaks"
    UNTOLD = "carried out: the connection breaks before the answer"
    HELD = "carried out, and answered once the test lets go"


class SmallWriter:
    """A site's socket, with a real store behind it; one connection at a time. Requests meet `fates` in turn; later ones are answered."""

    def __init__(self, folder: Path, *fates: Fate) -> None:
        self.asked: list[str] = []
        self.connections = 0
        self.let_go = threading.Event()
        self._folder, self._fates = folder, deque(fates)
        self._closing = threading.Event()
        self._connection: socket.socket | None = None
        self._socket = wire.socket_path(folder)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with wire.address(self._socket) as where:
            self._listener.bind(where)
        self._listener.listen()
        self._listener.settimeout(0.05)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with store_in(self._folder / "data") as store:
            service = service_of(store, self._folder / "data")
            while not self._closing.is_set():
                with contextlib.suppress(TimeoutError):
                    self._connection, _ = self._listener.accept()
                    self.connections += 1
                    with self._connection as connection, contextlib.suppress(OSError):
                        connection.settimeout(None)
                        self._talk(connection, service)

    def _talk(self, connection: socket.socket, service: StoreService) -> None:
        buffer = wire.MessageBuffer()
        while not self._closing.is_set():
            request = request_of(*wire.receive(connection, buffer))
            fate = self._fates.popleft() if self._fates else Fate.ANSWERED
            self.asked.append(request.op)
            if fate is Fate.LOST:
                return
            answer = _answer(service, request)
            if fate is Fate.UNTOLD:
                return
            if fate is Fate.HELD:
                self.let_go.wait(60)
            connection.sendall(wire.encode(answer))

    def close(self) -> None:
        """As a writer that is killed: the socket's file stays."""
        self._closing.set()
        self.let_go.set()
        if self._connection is not None:
            with contextlib.suppress(OSError):  # it has ended
                self._connection.shutdown(socket.SHUT_RDWR)
        self._thread.join(30)
        self._listener.close()


def _answer(service: StoreService, request: Request[Any]) -> dict[str, Any]:
    try:
        return service.ask(request).to_json()  # type: ignore[no-any-return]  # a request of any kind
    except RollcallError as error:
        return wire.error_document(error)


Start = Callable[..., SmallWriter]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """`start(fates…)`: a small writer, in place of the one before."""
    make_private_folder(tmp_path / "data")
    writers: list[SmallWriter] = []

    def begin(*fates: Fate) -> SmallWriter:
        for one in writers:
            one.close()
        wire.socket_path(tmp_path).unlink(missing_ok=True)
        writers.append(SmallWriter(tmp_path, *fates))
        return writers[-1]

    yield begin
    for one in writers:
        one.close()


Connect = Callable[..., SiteClient]


@pytest.fixture
def connect(tmp_path: Path) -> Iterator[Connect]:
    """`connect(patience_s=…)`: a client of the small writer."""
    clients: list[SiteClient] = []

    def begin(**given: float) -> SiteClient:
        clients.append(SiteClient(tmp_path, **given))
        return clients[-1]

    yield begin
    for one in clients:
        one.close()


@pytest.fixture
def camera(tmp_path: Path) -> Iterator[EventSender]:
    """A camera's way to the small writer."""
    sender = EventSender(tmp_path)
    yield sender
    sender.close()


def _save(name: str = "Ada", seed: int = 0) -> Save:
    vectors = noise(np.random.default_rng(seed), 1, _DIM)
    return Save([NewReference(name, uuid=new_uuids(1)[0])], vectors=vectors)


def _event(number: int, **fields: Any) -> Event:
    given = {"event": "unknown", "time": "2126-01-31T08:00:00.000Z", "camera": "door", "track": number, **fields}
    return Event(key=f"k{number}", **given)


def _tracks(client: SiteClient) -> list[int | None]:
    """Those of the events that the writer keeps, in its order."""
    return [one.track for one in client.ask(Sightings()).events]


# --- requests ---------------------------------------------------------------------------------------------------------


def test_a_request_is_repeated_after_a_broken_connection_and_counts_once(start: Start, connect: Connect) -> None:
    """A save and sightings: lost on the way, then carried out without an answer, then asked once more: each is there once."""
    client = connect()
    writer = start(*(Fate.LOST, Fate.UNTOLD, Fate.ANSWERED) * 2)
    assert client.ask(_save()).ids == [1]
    assert client.ask(Record([_event(1).to_json(), _event(2).to_json()])).refused == []
    assert writer.asked == ["save"] * 3 + ["record"] * 3
    assert client.ask(Count()).count == 1
    assert _tracks(client) == [1, 2]


@pytest.mark.parametrize("fate", [Fate.LOST, Fate.UNTOLD])
@pytest.mark.parametrize(
    "request_sent",
    [Restore("restore-1.db"), _SWITCH, Rename("Ada", "Zed"), Merge("Ada", "Bo"), UndoPeople()],
    ids=lambda request: request.op,
)
def test_what_must_not_be_done_twice_is_asked_once(
    start: Start, connect: Connect, request_sent: Request[Any], fate: Fate
) -> None:
    """A connection that breaks before the answer to a restore, a switch, a rename, a merge or an undo: the request is not sent again, and
    the error says that it may have been done. The next request gets through."""
    writer, client = start(fate), connect()
    with pytest.raises(TemporaryError, match="may have been done"):
        client.ask(request_sent)
    assert client.ask(Count()).count == 0
    assert writer.asked == [request_sent.op, "count"]


def test_what_changes_everything_takes_a_connection_of_its_own(start: Start, connect: Connect) -> None:
    """One that was idle may lead to a writer that is gone: nobody could tell whether the request had got there."""
    client = connect()
    start()
    assert client.ask(_save()).updated == 0
    start()
    assert client.ask(_SWITCH).not_staged == [1]
    writer = start()
    for _ in range(2):
        client.ask(Count())
        client.ask(_SWITCH)
    assert (writer.asked, writer.connections) == (["count", "switch_model"] * 2, 3)


@pytest.mark.parametrize("request_sent", [Count(), _SWITCH], ids=["count", "switch_model"])
def test_without_a_writer_nothing_was_done(
    tmp_path: Path, start: Start, connect: Connect, request_sent: Request[Any]
) -> None:
    """No socket, or one that nobody listens on: tried again for as long as there is patience, then it says that nobody answers."""
    assert not site_is_running(tmp_path)
    began = time.monotonic()
    with pytest.raises(TemporaryError, match="does not answer"):
        connect(patience_s=0.5).ask(request_sent)
    assert time.monotonic() - began >= 0.5
    start().close()
    assert wire.socket_path(tmp_path).exists()
    assert not site_is_running(tmp_path)
    with pytest.raises(TemporaryError, match="does not answer"):
        connect(patience_s=0.0).ask(request_sent)


@pytest.mark.parametrize("request_sent", [Count(), _SWITCH], ids=["count", "switch_model"])
def test_a_writer_that_comes_meanwhile_is_asked(start: Start, connect: Connect, request_sent: Request[Any]) -> None:
    """While the writer is being replaced a request waits for the next one."""
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(connect(patience_s=60).ask, request_sent)
        with pytest.raises(TimeoutError):
            answer.result(0.5)
        assert not answer.done()
        assert start()
        assert answer.result(30).warning is None


@pytest.mark.parametrize(
    ("request_sent", "limit", "said"),
    [
        (Count(), "REQUEST_TIMEOUT_S", "does not answer"),
        (_SWITCH, "_WHOLE_GALLERY_TIMEOUT_S", "may have been done"),
    ],
    ids=["count", "switch_model"],
)
def test_a_request_times_out(
    start: Start,
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
    request_sent: Request[Any],
    limit: str,
    said: str,
) -> None:
    """A writer that is silent for too long: the request fails, and what it still answers is nobody's answer to the next request."""
    monkeypatch.setattr(f"shared.ipc.client.{limit}", 0.3)
    writer, client = start(Fate.HELD), connect(patience_s=0.0)
    with pytest.raises(TemporaryError, match=said):
        client.ask(request_sent)
    assert writer.asked == [request_sent.op]
    monkeypatch.undo()
    writer.let_go.set()
    assert client.ask(_save()).ids == [1]


@pytest.mark.parametrize(
    ("request_sent", "said"),
    [(Count(), "does not answer"), (_SWITCH, "may have been done")],
    ids=["count", "switch_model"],
)
def test_close_gives_up_what_waits_for_its_answer(
    start: Start, connect: Connect, request_sent: Request[Any], said: str
) -> None:
    """However much time and patience were left."""
    writer, client = start(Fate.HELD), connect(patience_s=600)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(client.ask, request_sent)
        wait_until(lambda: writer.asked, "the request")
        client.close()
        with pytest.raises(TemporaryError, match=said):
            answer.result(20)
    assert writer.asked == [request_sent.op]


def test_close_gives_up_what_is_tried_again(connect: Connect) -> None:
    """While there is no writer."""
    client = connect(patience_s=600)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(client.ask, Count())
        with pytest.raises(TimeoutError):
            answer.result(0.3)
        assert not answer.done()
        client.close()
        with pytest.raises(TemporaryError, match="does not answer"):
            answer.result(20)


def test_a_refusal_arrives_as_what_it_was(start: Start, connect: Connect) -> None:
    """It is not repeated, and the connection goes on."""
    writer, client = start(), connect()
    with pytest.raises(RefusedError, match="nobody of that name") as caught:
        client.ask(Forget("Nobody"))
    assert (caught.value.where, caught.value.remedy) == ("Nobody", "see: supervisor.py people")
    assert client.ask(Count()).count == 0
    assert (writer.asked, writer.connections) == (["forget", "count"], 1)


def test_what_is_too_large_is_not_sent(start: Start, connect: Connect) -> None:
    """The other side would not take it."""
    writer, client = start(), connect()
    with pytest.raises(RefusedError, match="over the limits"):
        client.ask(Record(["x" * wire.MAX_JSON_BYTES]))
    assert client.ask(Count()).count == 0
    assert writer.asked == ["count"]


def test_each_of_many_threads_gets_its_own_answer(start: Start, connect: Connect) -> None:
    """One client, one connection, requests in turn, also while connections break."""
    client = connect()
    start(*[Fate.ANSWERED, Fate.ANSWERED, Fate.UNTOLD] * 10)

    def work(thread: int) -> None:
        for i in range(5):
            saved = client.ask(_save(f"t{thread}-{i}", thread * 10 + i))
            (found,) = client.ask(References(f"t{thread}-{i}")).references
            assert [found.id] == saved.ids

    eight_threads(work)
    assert client.ask(Count()).count == 40


# --- a camera's sightings ---------------------------------------------------------------------------------------------


def test_record_never_waits(start: Start, connect: Connect, camera: EventSender) -> None:
    """Neither without a writer nor while it is silent: the events wait. `flush` waits for them until the writer has them all."""
    assert camera.flush(0)
    camera.record([])
    camera.record([_event(0)])
    assert (camera.backlog, camera.flush(0.3)) == (1, False)
    writer = start(Fate.HELD)
    wait_until(lambda: writer.asked, "the first")
    for number in range(1, 200):
        camera.record([_event(number)])
    assert not writer.let_go.is_set()
    assert (camera.backlog, camera.flush(0.3), camera.backlog) == (200, False, 200)
    with ThreadPoolExecutor(1) as pool:
        flushed = pool.submit(camera.flush, 60)
        with pytest.raises(TimeoutError):
            flushed.result(0.2)
        assert not flushed.done()
        writer.let_go.set()
        assert flushed.result(60)
    assert (camera.backlog, camera.dropped) == (0, 0)
    camera.close()
    assert _tracks(connect()) == [*range(200)]


def test_with_a_full_queue_the_oldest_go(start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One by one and all at once; how many is in `dropped`, and the others arrive in their order."""
    monkeypatch.setattr("shared.ipc.event_sender._MAX_QUEUED_EVENTS", 100)
    camera = EventSender(tmp_path)
    for number in range(120):
        camera.record([_event(number)])
    assert (camera.backlog, camera.dropped) == (100, 20)
    camera.record([_event(number) for number in range(120, 130)])
    assert (camera.backlog, camera.dropped) == (100, 30)
    camera.record([_event(number) for number in range(130, 380)])
    assert (camera.backlog, camera.dropped) == (100, 280)
    start()
    assert camera.flush(60)
    camera.close()
    client = SiteClient(tmp_path)
    assert _tracks(client) == [*range(280, 380)]
    client.close()


def test_what_goes_while_it_is_being_sent_is_not_sent_for_another(
    start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The queue overflows while its oldest are on their way: what came behind them is sent all the same, and nothing twice."""
    monkeypatch.setattr("shared.ipc.event_sender._MAX_QUEUED_EVENTS", 100)
    writer, camera = start(Fate.HELD), EventSender(tmp_path)
    camera.record([_event(number) for number in range(60)])
    wait_until(lambda: writer.asked, "the first")
    camera.record([_event(number) for number in range(60, 140)])
    assert camera.dropped == 40
    writer.let_go.set()
    assert camera.flush(60)
    assert camera.dropped == 0, "all forty had been sent"
    camera.close()
    client = SiteClient(tmp_path)
    assert _tracks(client) == [*range(140)], "the first fifty were on their way, and ninety of the rest had room"
    client.close()


def test_what_is_refused_is_counted(
    start: Start, connect: Connect, camera: EventSender, caplog: pytest.LogCaptureFixture
) -> None:
    """By itself, or with all that it was sent with: it is not sent again, the log says why without what was in it, and the others are
    kept."""
    writer = start()
    camera.record([_event(1), _event(2, time="yesterday"), _event(3), _event(4, camera="")])
    assert camera.flush(60)
    assert camera.dropped == 2
    camera.record([_event(5, time="yesterday")])
    assert camera.flush(60)
    assert camera.dropped == 3
    camera.record([_event(6)])
    assert camera.flush(60)
    assert (camera.backlog, camera.dropped) == (0, 3)
    assert writer.asked == ["record"] * 3
    camera.close()
    assert _tracks(connect()) == [1, 3, 6]
    assert "refused 2 of 4 sightings: time must be" in caplog.text
    assert "refused 1 sightings" in caplog.text
    assert "yesterday" not in caplog.text


def test_a_writer_that_comes_back_gets_what_was_queued(start: Start, connect: Connect, camera: EventSender) -> None:
    """One dies before it says that it has them, none is there for a while, the next one dies before it takes them: in the end every
    event is kept once, in order."""
    start(Fate.UNTOLD).let_go.set()
    camera.record([_event(number) for number in range(3)])
    assert camera.flush(60)
    start().close()
    camera.record([_event(number) for number in range(3, 130)])
    assert not camera.flush(0.5)
    writer = start(Fate.LOST, Fate.ANSWERED, Fate.UNTOLD)
    camera.record([_event(130)])
    assert camera.flush(60)
    assert (camera.backlog, camera.dropped) == (0, 0)
    assert writer.asked == ["record"] * 5, "three batches, two of them twice"
    camera.close()
    assert _tracks(connect()) == [*range(131)]


def test_a_camera_that_stops_does_not_wait_for_a_silent_writer(start: Start, camera: EventSender) -> None:
    """`close` gives up what is on its way and what is queued."""
    writer = start(Fate.HELD)
    camera.record([_event(number) for number in range(60)])
    wait_until(lambda: writer.asked, "the first")
    camera.close()
    assert "event-sender" not in {one.name for one in threading.enumerate()}
    assert camera.backlog == 60
    assert writer.asked == ["record"]
