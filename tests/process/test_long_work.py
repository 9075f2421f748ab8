"""Work is not a hang and a hang is not work: what takes the writer long proves its progress, and nothing else does."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest

from shared.files.private_folder import make_private_folder
from shared.gallery.files import remove_left_behind
from shared.ipc.client import SiteClient
from shared.ipc.requests.forgetting import Forget
from shared.ipc.requests.gallery import Restore
from shared.ipc.requests.model import SwitchModel
from shared.model_id import ModelId
from shared.process.work_progress import beat
from shared.process.worker import Worker
from shared.records import NewReference
from shared.service.access import RunningSite
from shared.settings.schema import Settings
from shared.store.copying import copy_to
from shared.store.opening import open_read_only
from shared.supervision import child_process
from shared.supervision.child_kinds import PREPARE, WRITER, ChildKind
from shared.supervision.child_process import ChildProcess
from tests.support.paths import ROOT, needs_dlib
from tests.support.stores import keep, site_settings, store_in
from tests.support.vectors import noise

_Result = TypeVar("_Result")
_DIM = 128
_PATIENCE_S = 1.0
_MANY = 100_000  # a restore of so many takes several times that patience


class Watched:
    """A writer, or another child, and what its supervisor would think of it."""

    def __init__(self, kind: ChildKind, settings: Settings, *arguments: str) -> None:
        self.child = ChildProcess(kind.name, kind, arguments, settings.to_json())
        self.child.start()
        self.client = SiteClient(settings.run_dir, patience_s=0.0)
        self.longest_s = 0.0

    def until(self, done: Callable[[], bool], deadline_s: float = 120.0) -> None:
        """Hear the writer until `done`; how long it was silent at most is in `longest_s`."""
        self.longest_s = 0.0
        end = time.monotonic() + deadline_s
        assert self.child.channel is not None
        self.child.channel.setblocking(True)
        self.child.channel.settimeout(0.1)
        while not done():
            assert time.monotonic() < end, "not done in time"
            with contextlib.suppress(TimeoutError):
                self.child.read_heartbeats()
            self.longest_s = max(self.longest_s, self.child.heartbeat_age_s(time.monotonic()))

    def wait_for(self, answer: Future[_Result]) -> _Result:
        self.until(answer.done)
        return answer.result()

    def wait_until_running(self) -> None:
        self.until(lambda: self.child.state == "running")

    def close(self) -> None:
        self.client.close()
        self.child.kill(time.monotonic())
        if self.child.process is not None:
            self.child.process.wait(10)
        self.child.reap(time.monotonic())


@pytest.fixture
def watched() -> Iterator[Callable[[Settings], Watched]]:
    started: list[Watched] = []
    folders: list[Path] = []

    def start(settings: Settings) -> Watched:
        make_private_folder(settings.run_dir)
        folders.append(settings.run_dir)
        started.append(Watched(WRITER, settings))
        started[-1].wait_until_running()
        return started[-1]

    yield start
    for one in started:
        one.close()
    for folder in folders:
        remove_left_behind(folder)


def _gallery(folder: Path, count: int, dim: int = _DIM) -> None:
    rng = np.random.default_rng(0)
    with store_in(folder) as store:
        with store.transaction():
            store.stamp(ModelId.parse("dlib/resnet", "f" * 64, dim))
        for start in range(0, count, 10_000):
            names = [NewReference(f"p{i}") for i in range(start, min(start + 10_000, count))]
            keep(store, noise(rng, len(names), dim), *names)


@pytest.mark.alone
@pytest.mark.timeout(170)
def test_a_large_restore_and_a_switch_of_model_prove_progress(
    tmp_path: Path, watched: Callable[[Settings], Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gallery whose restore takes several times the supervisor's patience: the writer is never silent for longer than it, nor when
    the model is switched; and a `check` meanwhile is read by who asks for it."""
    monkeypatch.setattr(child_process, "HEARTBEAT_TIMEOUT_S", _PATIENCE_S * 2)
    settings = site_settings(tmp_path)
    _gallery(settings.data_dir, _MANY)
    with store_in(settings.data_dir) as store:
        copy_to(store, tmp_path / "old.db")
        store.connection.execute(
            "INSERT INTO staged_embeddings(embedding_id, fingerprint, embedding) SELECT id, ?, embedding FROM embeddings",
            ("e" * 64,),
        )
    writer = watched(settings)
    shutil.copy(tmp_path / "old.db", settings.run_dir / "restore-1.db")
    with ThreadPoolExecutor(1) as pool:
        began = time.monotonic()
        switched = writer.wait_for(
            pool.submit(lambda: writer.client.ask(SwitchModel(ModelId.parse("dlib/other", "e" * 64, _DIM), [])))
        )
        assert switched.references == _MANY
        assert writer.longest_s < 2 * _PATIENCE_S, "switch_model"
        assert not writer.child.is_stuck(time.monotonic())
        restored = writer.wait_for(pool.submit(lambda: writer.client.ask(Restore("restore-1.db"))))
        assert restored.restored == _MANY
        assert writer.longest_s < 2 * _PATIENCE_S, "restore"
        assert not writer.child.is_stuck(time.monotonic())
        assert time.monotonic() - began > 2 * _PATIENCE_S, "it was too fast to show anything"
        site = RunningSite(settings)
        assert writer.wait_for(pool.submit(site.check)) == []
        assert writer.longest_s < 2 * _PATIENCE_S
        site.close()


@pytest.mark.alone
@pytest.mark.timeout(170)
def test_forgetting_on_a_slow_disk_is_work(tmp_path: Path, watched: Callable[[Settings], Watched]) -> None:
    """A disk that takes 3 ms a write: overwriting the remains of somebody takes many times the patience, in commits and checkpoints
    of which SQLite tells nothing; the writer proves progress all the same, and answers."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("a slow disk is made with strace")
    settings = site_settings(tmp_path)
    _gallery(settings.data_dir, 40_000)
    writer = watched(settings)
    assert writer.child.process is not None
    words = [strace, "-f", "-q", "-o", "/dev/null", "-e", "trace=pwrite64,write,fdatasync,fsync"]
    words += ["-e", "inject=pwrite64:delay_enter=3000", "-p", str(writer.child.process.pid)]
    slow = subprocess.Popen(words, stderr=subprocess.PIPE)
    try:
        if slow.poll() is not None:
            pytest.skip("strace may not attach here")
        _wait_until_traced(writer.child.process.pid)
        with ThreadPoolExecutor(1) as pool:
            began = time.monotonic()
            answer = writer.wait_for(pool.submit(lambda: writer.client.ask(Forget("p7"))))
        assert answer.references == 1
        assert time.monotonic() - began > 2 * _PATIENCE_S, "it was too fast to show anything"
        assert writer.longest_s < 2 * _PATIENCE_S
    finally:
        slow.send_signal(signal.SIGINT)
        slow.wait(10)


@needs_dlib
@pytest.mark.timeout(170)
@pytest.mark.parametrize("stopped", [False, True])
def test_what_prepare_does_on_a_slow_disk_is_work(tmp_path: Path, stopped: bool) -> None:
    """The same where a start finds remains to overwrite: `prepare` is never silent for long before it has done; asked to stop in the
    middle of it, it ends at once, and the next start does it."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("a slow disk is made with strace")
    settings = site_settings(tmp_path)
    _gallery(settings.data_dir, 40_000)
    with store_in(settings.data_dir) as store, store.transaction():
        store.want_remains_erased()
    prepare = Watched(PREPARE, settings, "--assume-model")
    process = prepare.child.process
    assert process is not None
    words = [strace, "-f", "-q", "-o", "/dev/null", "-e", "trace=pwrite64", "-e", "inject=pwrite64:delay_enter=3000"]
    slow = subprocess.Popen([*words, "-p", str(process.pid)], stderr=subprocess.PIPE)
    try:
        if slow.poll() is not None:
            pytest.skip("strace may not attach here")
        _wait_until_traced(process.pid)
        wal = settings.db_path.with_name(settings.db_path.name + "-wal")
        prepare.until(lambda: _bytes_of(wal) > 1 << 20)
        began = time.monotonic()
        if stopped:
            process.send_signal(signal.SIGTERM)
            prepare.until(lambda: process.poll() is not None)
            assert process.returncode == 0
            assert time.monotonic() - began < 5
        else:
            prepare.until(lambda: _bytes_of(wal) < 1 << 20)
            assert time.monotonic() - began > 2 * _PATIENCE_S, "it was too fast to show anything"
            assert prepare.longest_s < 2 * _PATIENCE_S
            prepare.until(lambda: process.poll() is not None)
    finally:
        slow.send_signal(signal.SIGINT)
        slow.wait(10)
        prepare.close()
    store = open_read_only(settings.db_path)
    assert store.remains_are_due() == stopped
    store.close()


def _bytes_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _wait_until_traced(pid: int) -> None:
    deadline = time.monotonic() + 20
    while "TracerPid:\t0\n" in Path(f"/proc/{pid}/status").read_text():
        if time.monotonic() > deadline:
            pytest.skip("strace may not attach here")
        threading.Event().wait(0.05)


@pytest.mark.alone
def test_a_hang_is_not_work() -> None:
    """A lock that nobody frees, a disk that never answers: no heartbeat comes. What computes, or says that it goes on, has one."""
    told: list[float] = []
    worker = Worker(lambda: told.append(time.monotonic()))

    def compute() -> None:
        end = time.monotonic() + 1
        while time.monotonic() < end:
            sum(range(1000))

    def go_on() -> None:
        for _ in range(20):
            beat()
            threading.Event().wait(0.05)

    worker.run(lambda: threading.Event().wait(1.5))
    assert len(told) <= 1, "a beginning is all that there was"
    told.clear()
    for work in (compute, go_on):
        worker.run(work)
        assert len(told) >= 2
        told.clear()
    aside = threading.Thread(target=go_on)
    aside.start()
    worker.run(aside.join)
    assert len(told) <= 1, "what another thread does is not this work"
    with pytest.raises(ZeroDivisionError):
        worker.run(lambda: 1 // 0)
    worker.close()


@pytest.mark.alone
def test_computing_without_an_end_is_a_hang_at_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop without an end takes processor time for ever: without a word from the work that counts for a while only."""
    monkeypatch.setattr("shared.process.worker._MAX_SILENT_S", 0.8)
    told: list[float] = []
    worker = Worker(lambda: told.append(time.monotonic()))
    began = time.monotonic()

    def compute() -> None:
        while time.monotonic() < began + 2.5:
            sum(range(1000))

    worker.run(compute)
    assert told
    assert told[-1] - began < 1.5
    worker.close()


def test_check_of_a_running_site_asks_nothing_of_the_writers_loop(
    tmp_path: Path, watched: Callable[[Settings], Watched]
) -> None:
    """`check` sees what is unsound in the block and the database of a running site; the writer has no such request."""
    settings = site_settings(tmp_path)
    _gallery(settings.data_dir, 300)
    watched(settings)
    done = subprocess.run(
        [sys.executable, str(ROOT / "supervisor.py"), "check", "--json"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert [line for line in json.loads(done.stdout)["faults"] if "block" in line or ".db" in line] == []
    site = RunningSite(settings)
    assert site.check() == []
    site.save([NewReference("new")], noise(np.random.default_rng(9), 1, _DIM))
    assert site.check() == []
    connection = sqlite3.connect(settings.db_path)
    connection.execute("UPDATE embeddings SET user_id='badge' WHERE id=5")
    connection.execute("DELETE FROM embeddings WHERE id=9")
    connection.commit()
    connection.close()
    assert any("another user id" in fault for fault in site.check())
    assert any("301 live rows, database: 300" in fault for fault in site.check())
    site.close()
