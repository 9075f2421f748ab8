"""What people see of work that takes its time."""

from __future__ import annotations

import io
import os
import pty
import select
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from shared.gallery.publisher import GalleryPublisher
from shared.model_id import ModelId
from shared.progress import progress_bar
from shared.records import NewReference
from shared.service.publication import BlockKeeper
from shared.store.opening import open_store
from shared.store.saving import save
from tests.support.stores import silent
from tests.support.vectors import noise

_MARK = "<so far>"


class Clock:
    """Stands in for the monotonic clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


class Terminal:
    """Standard error from now on. In the test itself, not in a fixture: pytest puts its own there in between."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TERM", "xterm")
        self._ours, theirs = pty.openpty()
        self._stream = os.fdopen(theirs, "w")
        monkeypatch.setattr(sys, "stderr", self._stream)

    def shown(self) -> str:
        """What was written to it so far: a terminal hands on in order, and not at once."""
        self._stream.write(_MARK)
        self._stream.flush()
        got = ""
        while not got.endswith(_MARK):
            assert select.select([self._ours], [], [], 10)[0]
            got += os.read(self._ours, 1 << 16).decode("utf-8", "replace")
        return got.removesuffix(_MARK)

    def close(self) -> None:
        self._stream.close()
        os.close(self._ours)


def test_a_terminal_shows_a_bar_past_a_second(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of what is done before; then what it is and how far it is; gone in the end."""
    terminal = Terminal(monkeypatch)
    with progress_bar("loading the gallery") as progress:
        clock.now += 0.9
        progress(50, 200)
        assert terminal.shown() == ""
        clock.now += 0.2
        progress(150, 200)
    drawn = terminal.shown()
    terminal.close()
    assert "loading the gallery" in drawn
    assert "75%" in drawn


def test_quick_work_leaves_a_terminal_alone(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """No bar is drawn at the end either."""
    terminal = Terminal(monkeypatch)
    with progress_bar("enrolling") as progress:
        clock.now += 0.5
        progress(2, 2)
    assert terminal.shown() == ""
    terminal.close()


def test_elsewhere_it_is_a_line_now_and_then(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal gets a line each ten seconds, and nothing of what takes less."""
    journal = io.StringIO()
    monkeypatch.setattr(sys, "stderr", journal)
    with progress_bar("enrolling") as progress:
        for done in range(1, 26):
            clock.now += 1
            progress(done, 100)
    assert journal.getvalue() == "enrolling: 10 of 100\nenrolling: 20 of 100\n"


def test_a_load_tells_how_far_it_is(tmp_path: Path) -> None:
    """Rows so far and in all, a thousand or so at a time."""
    store = open_store(tmp_path / "face_embeddings.db", silent)
    with store.transaction():
        store.stamp(ModelId.parse("test/none", "f" * 64, 8))
        save(store, [NewReference(f"p{i}") for i in range(2500)], noise(np.random.default_rng(0), 2500, 8))
    publisher = GalleryPublisher(tmp_path, 8, "test/none", "f" * 64)
    told: list[tuple[int, int]] = []
    BlockKeeper(store, publisher, silent).publish_everything(lambda done, count: told.append((done, count)))
    assert told == [(1024, 2500), (2048, 2500), (2500, 2500)]
    publisher.remove_block()
    publisher.close()
    store.close()
