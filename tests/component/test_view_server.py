"""A camera's socket for its newest frame: what a reader gets, what it costs, and that no reader holds up the camera."""

from __future__ import annotations

import json
import socket
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from shared.errors import RefusedError, TemporaryError, UsageError
from shared.ipc import wire
from shared.ipc.view import LiveTrack, View, Viewed, view_path
from tests.support.clips import HEIGHT, WIDTH, number_of, picture, wait_until
from workers.viewing import view_server
from workers.viewing.view_server import ViewServer

_TRACK = LiveTrack(3, [10, 20, 50, 60], "named", "Ada", 0.7, 0.3, 2, 3, ["pose"])


class Reader:
    """One connection to the socket."""

    def __init__(self, path: Path) -> None:
        self.connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.connection.settimeout(20)
        wait_until(lambda: self._is_connected(path), "listener")
        self.buffer = wire.MessageBuffer()

    def _is_connected(self, path: Path) -> bool:
        with wire.address(path) as where:
            try:
                self.connection.connect(where)
            except ConnectionRefusedError:  # the file is there a moment before anybody listens
                return False
        return True

    def ask(self, **given: Any) -> None:
        self.connection.sendall(wire.encode({"op": View.op, "arguments": View(**given).to_wire()[0]}))

    def take(self) -> tuple[Viewed, bytes]:
        document, jpeg = wire.receive(self.connection, self.buffer)
        wire.raise_error(document)
        return Viewed.from_json(document), jpeg


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ViewServer]:
    one = ViewServer(tmp_path, "door")
    one.start()
    wait_until(view_path(tmp_path, "door").exists, "socket")
    yield one
    one.stop()
    assert list(tmp_path.iterdir()) == []


def decoded(jpeg: bytes) -> Any:
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)


def test_a_reader_gets_the_newest_frame_with_its_tracks(server: ViewServer, tmp_path: Path) -> None:
    """Small or whole, and each frame once: it waits for one after its own."""
    reader = Reader(view_path(tmp_path, "door"))
    reader.ask(divide=1)
    wait_until(lambda: server.wanted, "wish")
    server.show(picture(5), 1_769_846_400.0, lambda: [_TRACK])
    view, jpeg = reader.take()
    assert (view.width, view.height, view.tracks, view.time) == (WIDTH, HEIGHT, [_TRACK], "2026-01-31T08:00:00.000Z")
    assert number_of(decoded(jpeg)) == 5
    reader.ask(after=view.number, divide=4)
    server.show(picture(6), 0.0, list)
    newer, small = reader.take()
    assert newer.number > view.number
    assert decoded(small).shape == (HEIGHT // 4, WIDTH // 4, 3)


def test_while_nobody_looks_nothing_is_kept(
    server: ViewServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither are the tracks asked for. After the last reader the frame goes, too."""

    def never() -> list[LiveTrack]:
        raise AssertionError("nobody looks")

    server.show(picture(1), 0.0, never)
    assert (server._newest, server._number) == (None, 0)
    monkeypatch.setattr(view_server, "NO_FRAME_S", 0.3)
    reader = Reader(view_path(tmp_path, "door"))
    reader.ask()
    wait_until(lambda: server.wanted, "wish")
    server.show(picture(1), 0.0, list)
    reader.take()
    reader.connection.close()
    wait_until(lambda: server._newest is None, "end of the frame")
    assert not server.wanted


def test_a_tile_alone_wants_no_moving_pictures(
    server: ViewServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever comes gets a picture at once. Then a tile takes those that there are anyway; a large picture has to move."""
    monkeypatch.setattr(view_server, "NO_FRAME_S", 0.5)
    reader = Reader(view_path(tmp_path, "door"))
    reader.ask(divide=4)
    wait_until(lambda: server.wanted_moving, "first look")
    server.show(picture(1), 0.0, list)
    view, _ = reader.take()
    for number in range(2, 100_000):  # the first look ends after half a second
        reader.ask(after=view.number, divide=4)
        server.show(picture(number % 1000), 0.0, list)
        view, _ = reader.take()
        if not server.wanted_moving:
            break
    assert server.wanted
    assert not server.wanted_moving
    reader.ask(after=view.number, divide=2)
    wait_until(lambda: server.wanted_moving, "closer look")


def test_the_socket_is_private_and_is_made_anew(
    server: ViewServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Mode 0600; if somebody removes its file, that is told, and readers find a new one."""
    path = view_path(tmp_path, "door")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.unlink()
    wait_until(path.exists, "new socket")
    assert "its socket was removed" in caplog.text
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    Reader(path).ask()
    wait_until(lambda: server.wanted, "wish")


def test_a_reader_that_reads_nothing_holds_up_nobody(
    server: ViewServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The camera shows its frames in no time, others get them, and the reader is dropped."""
    monkeypatch.setattr(view_server, "_UNREAD_S", 1.0)
    noise = np.random.default_rng(0).integers(0, 255, (2000, 2000, 3), np.uint8)  # its JPEG fits no socket's buffer
    stuck, other = (Reader(view_path(tmp_path, "door")) for _ in range(2))
    stuck.ask(divide=1)
    wait_until(lambda: server.wanted, "wish")
    took, after = 0.0, 0
    for _ in range(5):
        other.ask(after=after, divide=8)
        began = time.perf_counter()
        server.show(noise, 0.0, list)
        took = max(took, time.perf_counter() - began)
        after = other.take()[0].number
    assert took < 0.2
    wait_until(lambda: len(server._readers) == 1, "end of the stuck reader")


@pytest.mark.usefixtures("server")
def test_readers_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In number, and in what they may send."""
    path = view_path(tmp_path, "door")
    monkeypatch.setattr(view_server, "_MAX_READERS", 2)
    readers = [Reader(path) for _ in range(3)]
    with pytest.raises(ConnectionError):
        readers[2].take()
    readers[0].connection.sendall(wire.encode({"op": View.op, "arguments": {"x": "y" * 8000}}))
    with pytest.raises(RefusedError, match="over the limits"):
        readers[0].take()


@pytest.mark.parametrize(
    "message",
    [
        {"op": "status"},
        {"op": View.op, "arguments": {"divide": 3}},
        {"op": View.op, "arguments": {"after": "x"}},
        {"op": View.op},
    ],
    ids=json.dumps,
)
def test_what_is_no_question_is_refused(server: ViewServer, tmp_path: Path, message: dict[str, Any]) -> None:
    """With what was expected; the connection ends then."""
    reader = Reader(view_path(tmp_path, "door"))
    reader.connection.sendall(wire.encode(message))
    with pytest.raises(UsageError):
        reader.take()
    with pytest.raises(ConnectionError):
        reader.take()
    assert not server.wanted


@pytest.mark.usefixtures("server")
def test_a_camera_without_frames_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After some seconds, and the reader may ask again."""
    monkeypatch.setattr(view_server, "NO_FRAME_S", 0.5)
    reader = Reader(view_path(tmp_path, "door"))
    for _ in range(2):
        reader.ask()
        with pytest.raises(TemporaryError, match="no frames"):
            reader.take()


def test_many_readers_share_an_encoding(server: ViewServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One JPEG for all who ask for that size of a frame."""
    encoded: list[int] = []
    plain = cv2.imencode

    def counting(*given: Any) -> Any:
        encoded.append(threading.get_ident())
        return plain(*given)

    monkeypatch.setattr(cv2, "imencode", counting)
    readers = [Reader(view_path(tmp_path, "door")) for _ in range(5)]
    for reader in readers:
        reader.ask(divide=2)
    wait_until(lambda: sum(one.asked is not None for one in server._readers.values()) == 5, "five questions")
    server.show(picture(1), 0.0, list)
    assert len({reader.take()[1] for reader in readers}) == 1
    assert len(encoded) == 1
    assert threading.get_ident() not in encoded


@pytest.mark.parametrize("divide", [1, 2, 4, 8])
def test_a_small_picture_is_the_mean_of_the_large_one(server: ViewServer, tmp_path: Path, divide: int) -> None:
    """Each pixel is the mean of those that it stands for, to a level or two and what JPEG does; what is left over at the edge is cut off."""
    rng = np.random.default_rng(4)
    blocks = (
        rng.integers(20, 236, (9, 12, 1)).repeat(16, 0).repeat(16, 1).repeat(3, 2)
    )  # grey: JPEG keeps less of colours
    image = (blocks + rng.integers(-20, 20, (*blocks.shape[:2], 1))).astype(np.uint8)[:-5, :-3]
    reader = Reader(view_path(tmp_path, "door"))
    reader.ask(divide=divide)
    wait_until(lambda: server.wanted, "reader that looks")
    server.show(image, 1.0, list)
    shown = cv2.imdecode(np.frombuffer(reader.take()[1], np.uint8), cv2.IMREAD_COLOR)
    assert shown is not None
    height, width = (side // divide for side in image.shape[:2])
    assert shown.shape[:2] == (height, width)
    whole = image[: height * divide, : width * divide].reshape(height, divide, width, divide, 3)
    assert np.abs(shown.astype(float) - whole.mean((1, 3))).mean() < 6
