"""Who speaks to a site's socket, and how badly: whatever comes, it costs its sender and nobody else."""

from __future__ import annotations

import contextlib
import sqlite3
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from shared.errors import RefusedError, RollcallError, UsageError
from shared.events import Event
from shared.files.private_folder import make_private_folder
from shared.gallery.files import remove_left_behind
from shared.ipc import wire
from shared.ipc.client import SiteClient
from shared.ipc.event_sender import EventSender
from shared.ipc.following import follow
from shared.ipc.requests.base import Counted
from shared.ipc.requests.forgetting import Forget
from shared.ipc.requests.references import Count, Save
from shared.ipc.requests.sightings import Follow, Record, Sightings
from shared.ipc.requests.site import PutStatus, Status
from shared.records import NewReference
from shared.settings.schema import Settings
from shared.status import SiteSnapshot
from tests.faults.test_bad_input import one_face
from tests.support.paths import ROOT, needs_dlib
from tests.support.site_process import SiteProcess, command, command_json
from tests.support.stores import site_settings
from tests.support.vectors import noise

_NOBODY = {"person": None, "track": 1, "score": None}


def event(key: str, **fields: Any) -> dict[str, Any]:
    return {"key": key, "event": "unknown", "time": "2026-01-31T08:00:00.000Z", "camera": "door", **_NOBODY, **fields}


class Writer:
    """The writer alone, as its supervisor starts it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        make_private_folder(settings.run_dir)
        words = [sys.executable, "-m", "workers.writer", "--config", str(settings.path)]
        self.process = subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        self.client = SiteClient(settings.run_dir, patience_s=30)
        self.client.ask(Count())

    def send(self, *raw: bytes) -> list[dict[str, Any]]:
        """The answers to `raw` messages on a connection of their own, until the writer closes it or has answered all."""
        answers: list[dict[str, Any]] = []
        with wire.connect(self.settings.run_dir, 20) as connection:
            buffer = wire.MessageBuffer()
            with contextlib.suppress(ConnectionError):
                for one in raw:
                    connection.sendall(one)
                    answers.append(wire.receive(connection, buffer)[0])
        return answers

    def is_well(self) -> bool:
        return self.process.poll() is None and self.client.ask(Count()).count >= 0

    def stop(self) -> tuple[int, str]:
        self.client.close()
        self.process.terminate()
        _, log = self.process.communicate(timeout=30)
        return self.process.returncode, log


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    one = Writer(site_settings(tmp_path))
    yield one
    if one.process.poll() is None:
        one.client.close()
        one.process.kill()
        one.process.wait(10)
    remove_left_behind(one.settings.run_dir)


def message(text: str, blob: bytes = b"") -> bytes:
    return struct.pack("<II", len(text.encode()), len(blob)) + text.encode() + blob


def ask(op: str, arguments: str) -> bytes:
    return message(f'{{"v":1,"op":"{op}","arguments":{arguments}}}')


def test_no_message_ends_the_writer(writer: Writer) -> None:
    """Numbers that no integer or database holds, depth, wrong types, in every operation: each is answered with an error or taken, and
    the same process goes on; nothing of what was asked is in its log."""
    values = [
        "1e999",
        "Infinity",
        "-Infinity",
        "NaN",
        str(2**70),
        str(-(2**70)),
        "null",
        '"secret-name"',
        "[]",
        "{}",
        "true",
    ]
    values += ["[" * 15 + "]" * 15, "[" * 981 + "]" * 981, "9" * 5000]
    places = [
        ("follow", "after_id"), ("events", "after_id"), ("events", "limit"), ("events", "since"), ("people", "limit"),
        ("people", "after"), ("references", "after_id"), ("references", "person"), ("strangers", "after"),
        ("strangers", "limit"), ("cosine", "id"), ("is_marked", "person"), ("restore", "name"), ("save", "rows"),
        ("record", "events"), ("forget", "person"), ("stamp", "dim"), ("stage", "ids"), ("switch_model", "dim"),
        ("delete", "person_name"), ("forget_stranger", "id"), ("name_stranger", "id"), ("put_status", "status"),
        ("put_status", "x"), ("status", "x"), ("nothing", "x"),
    ]  # fmt: skip
    for op, name in places:
        for value in values:
            answers = writer.send(ask(op, f'{{"{name}":{value}}}'), ask("status", "{}"))
            assert answers, (op, name, value[:20])
    for raw in (
        b"\0" * 8,
        b"\xff" * 8,
        message("[]"),
        message("{}"),
        message('{"v":1}'),
        message('{"v":1,"op":[]}'),
        message("\x00"),
    ):
        assert writer.send(raw)
    assert writer.is_well()
    code, log = writer.stop()
    assert code == 0
    assert "secret-name" not in log
    assert "Traceback" not in log


def test_only_the_supervisor_says_what_the_status_is(writer: Writer) -> None:
    """`put_status` from the process that started the writer is taken; from any other it is refused."""
    writer.client.ask(PutStatus(SiteSnapshot("ours", 1, True, 0.0)))
    code = (
        "import sys; from pathlib import Path; from shared.ipc.client import SiteClient\n"
        "from shared.ipc.requests.site import PutStatus; from shared.status import SiteSnapshot\n"
        "SiteClient(Path(sys.argv[1])).ask(PutStatus(SiteSnapshot('theirs', 1, True, 0.0)))"
    )
    words = [sys.executable, "-c", code, str(writer.settings.run_dir)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "not the supervisor" in done.stderr
    site = writer.client.ask(Status()).site
    assert site is not None
    assert site.site == "ours"


def test_a_bad_event_is_refused_and_the_others_are_kept(writer: Writer) -> None:
    """Of a batch each event counts by itself: the bad one is named by its field, without what was in it."""
    bad: list[Any] = [
        event("b1", time="yesterday"), event("b2", camera=7), event("b3", score=float("nan")), event("b4", track=2**70),
        event("b5", box=[1, 2]), event("b6", extra="x" * 70_000), event("b7", extra=[[[[[[[[[[]]]]]]]]]]),
        event("b8", event="named", person=None), event("b9", person="\ud800"), event("", track=1), "no event", [], None,
        event("b10", event="left", track=None), event("b11", traces=[{"photo": "x" * (2 << 20)}]), event("b12", event="A B"),
        event("b13", time="2026-01-31T08:00:00"), event("b14", camera="d\0r"),
    ]  # fmt: skip
    sound = [event("g1"), event("g2", event="new_kind", more={"any": [1, 2]}), event("g3", person="Ada")]
    answer = writer.client.ask(Record([sound[0], *bad, *sound[1:]]))
    assert answer.recorded == 3
    assert len(answer.refused) == len(bad)
    assert not any("yesterday" in fault for fault in answer.refused)
    kept = writer.client.ask(Sightings()).events
    assert [one.event for one in kept] == ["unknown", "new_kind", "unknown"]
    with pytest.raises(RefusedError, match="no sighting can be kept"):
        writer.client.ask(Record([{**event("deep"), "x": [[[[[[[[[[]]]]]]]]]]}]))
    assert writer.is_well()


def test_a_stored_row_that_cannot_be_read_hides_no_other(writer: Writer) -> None:
    """Rows that no JSON reader takes (a flipped bit, an older version's depth): passed over by `events` and by who follows, counted in
    `status`, said once."""
    client = writer.client
    client.ask(Record([event(f"k{i}") for i in range(9)]))
    connection = sqlite3.connect(writer.settings.db_path, timeout=20)
    deep = "[" * 982 + "]" * 982
    documents: list[Any] = [
        f'{{"event":"x","y":{deep}}}',
        "{",
        b"\xff\xfe\xfd",
        "[]",
        '{"score":NaN}',
        f'{{"y":{"[" * 50 + "]" * 50}}}',
    ]
    for row_id, document in enumerate(documents, 2):
        connection.execute("UPDATE sightings SET document=? WHERE id=?", (document, row_id))
    connection.commit()
    connection.close()
    assert [one.id for one in client.ask(Sightings()).events] == [1, 8, 9]
    assert [one.id for one in client.ask(Sightings(limit=2)).events] == [1, 8]
    told = follow(writer.settings.run_dir, 0, 10)
    assert [next(told).id for _ in range(3)] == [1, 8, 9]
    del told
    assert client.ask(Status()).gallery.unreadable_sightings == len(documents)
    assert writer.is_well()
    _, log = writer.stop()
    assert log.count("can't be read") <= 2


def _open_many(run_dir: Path, count: int, first: bytes) -> subprocess.Popen[str]:
    """A process that holds `count` connections, each with `first` sent, until it is killed."""
    code = f"""
import socket, sys
from pathlib import Path
from shared.ipc import wire
held = []
while len(held) < {count}:
    try:
        one = wire.connect(Path(sys.argv[1]), 20)
    except BlockingIOError:  # as many as may are waiting to be taken
        continue
    held.append(one)
    try:
        one.sendall({first!r})
    except OSError:
        pass  # let go already
print("open", flush=True)
sys.stdin.read()
"""
    words = [sys.executable, "-c", code, str(run_dir)]
    process = subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    return process


@needs_dlib
@pytest.mark.parametrize("first", [b"", struct.pack("<II", 100, 0) + b"{"], ids=["idle", "half-sent"])
def test_300_idle_connections_shut_nobody_out(tmp_path: Path, first: bytes) -> None:
    """Somebody opens 300 connections and waits: `people`, `enrol`, a camera's record and the supervisor's status all get through, at
    once, for as long as they stay."""
    site_settings(tmp_path)
    with SiteProcess(tmp_path) as site:
        site.wait_until_ready()
        held = _open_many(site.settings.run_dir, 300, first)
        try:
            began = time.monotonic()
            assert command_json(tmp_path, "people")["people"] == []
            assert len(command_json(tmp_path, "enrol", str(one_face(tmp_path / "Ada.jpg")))["enrolled"]) == 1
            camera = EventSender(site.settings.run_dir)
            camera.record([Event.from_json(event("k1"))])
            assert camera.flush(10)
            camera.close()
            assert time.monotonic() - began < 45
            pid = site.child_pid("writer")
            assert site.status()["writer"]["pid"] == pid
            assert command(tmp_path, "events", "--json").stdout.count('"unknown"') == 1
        finally:
            held.kill()
            held.wait(10)
        assert site.status()["writer"]["restarts"] == 0
        assert site.stop() == 0


def test_half_sent_messages_cost_bounded_memory(writer: Writer) -> None:
    """Sixteen peers that each send 60 MB of a message and stop: the writer never takes a GB, and honest work goes on."""
    size = 60 << 20
    process = psutil.Process(writer.process.pid)
    before, most = process.memory_info().rss, 0
    held = []
    for _ in range(16):
        one = wire.connect(writer.settings.run_dir, 20)
        with contextlib.suppress(OSError):  # it was let go
            one.sendall(struct.pack("<II", 2, 250 << 20) + bytes(size))
        held.append(one)
        writer.client.ask(Count())
        most = max(most, process.memory_info().rss)
    assert most - before < 480 << 20
    vectors = noise(np.random.default_rng(0), 2000, 128)
    saved = writer.client.ask(Save([NewReference(f"p{i}") for i in range(2000)], vectors=vectors))
    assert len(saved.ids) == 2000
    for one in held:
        one.close()


def test_a_flood_of_small_requests_is_not_piled_up(writer: Writer) -> None:
    """A peer that sends a million requests and reads no answer: it is read no faster than it is answered, and others are heard."""
    flood = ask("count", "{}") * 20_000
    with wire.connect(writer.settings.run_dir, 2) as greedy:
        with contextlib.suppress(OSError):  # it does not get rid of more
            for _ in range(50):
                greedy.sendall(flood)
        began = time.monotonic()
        assert writer.client.ask(Count()) == Counted(count=0)
        assert writer.send(ask("count", "{}")) == [{"v": 1, "count": 0}]
        assert time.monotonic() - began < 20
    assert psutil.Process(writer.process.pid).memory_info().rss < 600 << 20


def test_errors_arrive_as_what_they_were(writer: Writer) -> None:
    """A request of the wrong shape is a usage error, one that may not be is refused; neither breaks the connection."""
    malformed, unknown, sound = writer.send(
        ask("events", '{"after_id":"many"}'), ask("nonsense", "{}"), ask("count", "{}")
    )
    with pytest.raises(UsageError, match="not a request of this operation"):
        wire.raise_error(malformed)
    with pytest.raises(UsageError, match="no such operation"):
        wire.raise_error(unknown)
    assert sound == {"v": 1, "count": 0}
    with pytest.raises(RefusedError, match="nobody of that name"):
        writer.client.ask(Forget("Nobody"))
    with pytest.raises(RollcallError):
        writer.client.ask(Follow(2**70))
    assert writer.is_well()
