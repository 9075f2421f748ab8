"""A process's view of the gallery: it looks for news with one pread, moves on between two frames, and matches in place.

gallery/block.py has the specification that this follows.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from shared.errors import TemporaryError
from shared.gallery.block import HEAD_SIZE, Head, is_whole, parse_head
from shared.gallery.check import PIECE_ROWS, check_people, check_rows
from shared.gallery.files import head_path, open_ours
from shared.gallery.match import Candidate, Found, Rows, merged, search
from shared.gallery.segment import Segment
from shared.model_id import ModelId
from shared.process.freed_arrays import overwrite_small_arrays

_T = TypeVar("_T")
_TOUCH_BYTES = 4096
_TOUCH_AT_ONCE_BYTES = 32 << 20  # of codes: takes a few milliseconds
# How often one reading goes over rows that were published meanwhile, and how often a head with a wrong CRC is read again.
_MAX_LOOKS = 4
# How often a reading is repeated. The writer pauses for readings, so that a third one is rare.
_MAX_READINGS = 8
_PIECE_ROWS = 4096
_LOOK_FOR_HEAD_S = 1.0
_MAX_ROUNDS = 8  # over the pieces of a gallery: compactions are rarer than a round is long
_NICENESS = (
    5  # a third of the usual share of a short core: a switch takes .2 s instead of .1, and holds up half as long
)
# A generation that is not touched by then is used as it is: its first match is slow, but the gallery is the right one.
_TOUCH_LIMIT_S = 5.0


def _step_back() -> None:
    """Let the thread that looks and matches go before the calling one. Only Linux has a niceness for each thread."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # a courtesy only: a service's system-call filter can refuse it
            os.nice(_NICENESS)


def _let_go(segment: Segment) -> None:
    _step_back()
    segment.let_go()


def _start_aside(work: Callable[[], None], name: str) -> None:
    """Do `work` on a second thread; on this one where no thread can be started (a limit of tasks)."""
    try:
        threading.Thread(target=work, name=name, daemon=True).start()
    except RuntimeError:
        work()


class _Coming:
    """A generation that a reader is about to use. Touched first: to fault in a million rows would hold up the first match."""

    def __init__(self, segment: Segment, rows: int) -> None:
        self.segment, self.rows = segment, rows
        self.done = threading.Event()
        self._until = time.monotonic() + _TOUCH_LIMIT_S

    @property
    def is_ready(self) -> bool:
        """Whether it is touched, or was given time enough to be."""
        return self.done.is_set() or time.monotonic() >= self._until

    def start(self) -> None:
        _start_aside(self._touch_aside, "gallery-touch")

    def _touch_aside(self) -> None:
        try:
            _step_back()
            self.touch()
        finally:
            self.done.set()  # whatever happened: the generation can be used untouched

    def touch(self) -> None:
        segment, rows = self.segment, self.rows
        for section in (segment.codes[:rows], segment.scales[:rows], segment.errors[:rows], segment.persons[:rows]):
            section.reshape(-1)[:: _TOUCH_BYTES // section.itemsize].max(initial=0)


class Live(NamedTuple):
    """Copies of live rows, parallel: `row_ids` (n,), `references` (n, dim) float32 of unit norm."""

    row_ids: NDArray[np.int64]
    names: list[str]
    references: NDArray[np.float32]


class GalleryReader:
    """A reader's view of the gallery: `refresh` between two frames, `match` as often as wanted. Not thread-safe."""

    def __init__(self, run_dir: Path) -> None:
        """Raises TemporaryError when the site has no block yet, ConfigurationError when the block is unfit."""
        self._run_dir = run_dir
        try:
            self._descriptor = open_ours(run_dir, head_path(run_dir), os.O_RDONLY)
        except FileNotFoundError as error:
            raise TemporaryError(
                "no gallery block yet",
                where=str(error.filename or run_dir),
                expected="a running writer",
                remedy="start the site",
            ) from error
        self._where = str(run_dir)
        self._look_for_head_at = time.monotonic() + _LOOK_FOR_HEAD_S
        self._is_new_head = False
        self._raw = b""
        self._segment: Segment | None = None
        self._texts: dict[int, str | None] = {}
        self.rows = 0
        self.counts_from = 0
        self._sequence = self._moves = 0
        self.published_ns = 0
        self._coming: _Coming | None = None
        try:
            self.refresh()
            if self._segment is None:
                raise TemporaryError("the gallery block is not published yet", where=self._where, remedy="try again")
        except BaseException:
            os.close(self._descriptor)
            raise

    def refresh(self) -> bool:
        """Move to the newest published state; True when anything changed. One pread when nothing did."""
        raw = self._read_head()
        if raw == self._raw:
            if not self._head_was_replaced():
                return False
            raw = self._read_head()
        for _ in range(4):  # a generation can be replaced between the pread and the open; each turn reads the head anew
            head = parse_head(raw)
            if head is None:
                return False
            try:
                if not self._follow(head):
                    return False
            except FileNotFoundError:
                self._reopen_head()
                raw = self._read_head()
                continue
            self._raw = raw
            return True
        return False

    def _read_head(self) -> bytes:
        """The head as it lies there, read again while somebody is writing it."""
        raw = os.pread(self._descriptor, HEAD_SIZE, 0)
        for _ in range(_MAX_LOOKS):
            if raw == self._raw or is_whole(raw):
                break
            before, raw = raw, os.pread(self._descriptor, HEAD_SIZE, 0)
            if raw == before:
                break
        return raw

    def _head_was_replaced(self) -> bool:
        """Whether the head is another file now, which is then taken; looked at once a second."""
        now = time.monotonic()
        if now < self._look_for_head_at:
            return False
        self._look_for_head_at = now + _LOOK_FOR_HEAD_S
        return self._reopen_head()

    def _reopen_head(self) -> bool:
        """After a restart, or when it was removed and made anew, the head is another file; whether it was. One that says nothing yet
        is left alone."""
        try:
            descriptor = open_ours(self._run_dir, head_path(self._run_dir), os.O_RDONLY)
        except OSError:
            return False
        if os.path.sameopenfile(descriptor, self._descriptor) or not any(os.pread(descriptor, HEAD_SIZE, 0)):
            os.close(descriptor)
            return False
        os.close(self._descriptor)
        self._descriptor, self._is_new_head = descriptor, True
        self._abandon()
        return True

    def _follow(self, head: Head) -> bool:
        """Take over what `head` says; False while the generation that it names is being made ready."""
        # A new head can name another generation by a number that is known.
        if self._segment is None or self._segment.generation != head.generation or self._is_new_head:
            fresh = self._ready(head)
            if fresh is None:
                self._catch_up(head)
                return False
            old, self._segment = self._segment, fresh
            self._texts, self._is_new_head = {}, False
            if old is not None:
                # The last one to let go frees the old generation's memory, 0.4 s for 2.5 GiB: not between two frames.
                _start_aside(partial(_let_go, old), "gallery-let-go")
        self._take(head, head.rows)
        self.published_ns = head.published_ns
        return True

    def _take(self, head: Head, rows: int) -> None:
        """`rows`: of this reader's generation, which may be another one than the head's."""
        if head.counts_from != self.counts_from:
            self._texts.clear()  # somebody can have been forgotten: name and embedding are kept nowhere
            overwrite_small_arrays()
        self.rows, self._sequence, self.counts_from, self._moves = rows, head.sequence, head.counts_from, head.moves

    def _ready(self, head: Head) -> Segment | None:
        """The generation that `head` names, mapped and touched; a large one takes a second thread and some turns."""
        coming = self._coming
        if coming is None or coming.segment.generation != head.generation:
            self._abandon()
            coming = _Coming(Segment.attach(self._run_dir, head.generation), head.rows)
            if self._segment is None or coming.segment.codes[: head.rows].nbytes < _TOUCH_AT_ONCE_BYTES:
                coming.touch()
                return coming.segment
            coming.start()
            self._coming = coming
        if not coming.is_ready:
            return None
        self._coming = None
        return coming.segment

    def _abandon(self) -> None:
        """Let go of a generation that was replaced, or is not wanted, before it was ready."""
        coming, self._coming = self._coming, None
        if coming is not None:
            # To touch a whole gallery takes tenths of a second. A thread that takes longer holds views of the mapping, which goes with them.
            coming.done.wait(_TOUCH_LIMIT_S)
            coming.segment.close()

    def _catch_up(self, head: Head) -> None:
        """Take in what was published and rewritten of this generation since. Stays in this generation."""
        same = head.generation == self.generation and not self._is_new_head
        rows: int | None = head.rows if same else self.segment.ended
        self._take(head, self.rows if rows is None else rows)

    def _look(self) -> None:
        """As `_catch_up` with the head as it is now: tells by `counts_from` whether what was read before counts."""
        for _ in range(_MAX_LOOKS):
            raw = self._read_head()
            if raw == self._raw:
                return
            if head := parse_head(raw):
                self._catch_up(head)
                return
        raise TemporaryError("the gallery block's head cannot be read", where=self._where, remedy="try again")

    def _settled(self, read: Callable[[], _T | None]) -> _T:
        """What `read` returns, read again when that does not count (rule 5), or when `read` could not follow: None.

        Raises TemporaryError after several times.
        """
        for _ in range(_MAX_READINGS):
            began = self._sequence
            answer = read()
            self._look()
            if began < self.counts_from:
                self._texts.clear()  # what was read meanwhile can be somebody's who was forgotten
            elif answer is not None:
                return answer
        raise self._changed_too_often(_MAX_READINGS)

    def _changed_too_often(self, times: int) -> TemporaryError:
        return TemporaryError(
            "the gallery changed again and again while it was read",
            where=self._where,
            got=f"{times} times",
            remedy="try again; a machine that is this much overloaded needs fewer cameras or a lower fps",
        )

    @property
    def segment(self) -> Segment:
        if self._segment is None:
            raise TemporaryError("the gallery reader is closed", remedy="open another")
        return self._segment

    @property
    def fingerprint(self) -> str:
        return self.segment.constants.fingerprint

    @property
    def model_id(self) -> ModelId | None:
        """None: nobody was ever enrolled."""
        return ModelId.parse(self.model, self.fingerprint, self.dim) if self.model else None

    @property
    def model(self) -> str:
        return self.segment.constants.model

    @property
    def dim(self) -> int:
        return self.segment.shape.dim

    @property
    def generation(self) -> int:
        return self.segment.generation

    def count_live(self) -> int:
        """How many references are published and not dead."""
        return self._settled(self._counted)

    def live_pieces(self) -> Iterator[Live]:
        """Copies of all live rows, some thousand at a time, each reference once. Whoever is there all the time is in one of them.

        Raises TemporaryError when the gallery is compacted again and again meanwhile.
        """
        seen: set[int] = set()
        for _ in range(_MAX_ROUNDS):
            moves, start = self._moves, 0
            while start < self.rows:  # which rises with what is published meanwhile
                stop = min(start + _PIECE_ROWS, self.rows)
                piece = self._settled(partial(self._copied, start, stop, seen))
                if piece.names:
                    seen.update(piece.row_ids.tolist())
                    yield piece
                start = stop
            if self._moves == moves:
                return
        raise self._changed_too_often(_MAX_ROUNDS)

    def copy_live(self) -> Live:
        """All of `live_pieces` as one."""
        pieces = list(self.live_pieces())
        nothing = Live(np.empty(0, np.int64), [], np.empty((0, self.dim), np.float32))
        return Live(
            np.concatenate([nothing.row_ids, *(piece.row_ids for piece in pieces)]),
            [name for piece in pieces for name in piece.names],
            np.concatenate([nothing.references, *(piece.references for piece in pieces)]),
        )

    def check(self) -> list[str]:
        """What is unsound in the published rows, one line each, while the writer goes on. Raises TemporaryError."""
        faults, start = [], 0
        while start < self.rows:
            stop = min(start + PIECE_ROWS, self.rows)
            faults += self._settled(partial(self._faults_of, start, stop))
            start = stop
        for _ in range(_MAX_LOOKS):
            of_people = self._settled(lambda: check_people(self.segment, self.rows))
            if not of_people:  # in the midst of an update a reference is met twice, and then no more
                break
            self.refresh()
        return faults + of_people

    def _faults_of(self, start: int, stop: int) -> list[str]:
        return check_rows(self.segment, start, min(stop, self.rows))

    def user_ids(self) -> dict[str, str | None]:
        """The user id of everybody who has a live row."""
        return self._settled(self._users)

    def _users(self) -> dict[str, str | None]:
        persons = self.segment.persons[: self.rows]
        return {self.person(index): self.user_id(index) for index in np.unique(persons[persons >= 0]).tolist()}

    def _counted(self) -> int | None:
        """How many different references are alive; None when rows came faster than it could follow."""
        segment, known = self.segment, 0
        row_ids = np.empty(0, np.int64)
        for _ in range(_MAX_LOOKS):
            part, known = slice(known, self.rows), self.rows
            row_ids = np.append(row_ids, segment.row_ids[part][segment.persons[part] >= 0])
            self._look()
            if self.rows <= known:
                return len(np.unique(row_ids))
        return None

    def _copied(self, start: int, stop: int, seen: set[int]) -> Live:
        """Rows `start` to `stop`, as far as they live and are not `seen`."""
        segment, stop = self.segment, min(stop, self.rows)
        rows = start + np.flatnonzero(segment.persons[start:stop] >= 0)
        # In the midst of a compaction or an update a reference is met twice: the last one counts.
        last = {row_id: row for row, row_id in zip(rows.tolist(), segment.row_ids[rows].tolist(), strict=True)}
        rows = np.array([row for row_id, row in last.items() if row_id not in seen], np.intp)
        persons = segment.persons[rows]
        rows, persons = rows[persons >= 0], persons[persons >= 0]  # a row can die between two loads
        names = {index: self.person(index) for index in np.unique(persons).tolist()}
        return Live(segment.row_ids[rows], [names[index] for index in persons.tolist()], segment.references[rows])

    def person(self, index: int) -> str:
        """Name of person `index`."""
        if index not in self._texts:
            self._texts[index] = self.segment.text(int(self.segment.names[index]))
        return self._texts[index] or ""

    def user_id(self, index: int) -> str | None:
        return self.segment.text(int(self.segment.user_ids[index]))

    def match(self, probes: NDArray[np.float32], k: int = 2) -> list[list[Candidate]]:
        """For each probe (n, dim; float32, unit norm) its `k` best people, best reference of each, best first.

        Exact: the same people and scores (1e-6) as float32 brute force over the live rows. An empty gallery gives [].
        """
        return self._settled(lambda: self._match(probes, k))

    def _match(self, probes: NDArray[np.float32], k: int) -> list[list[Candidate]] | None:
        """None when people were replaced faster than it could follow."""
        known = self.rows
        found = self._search(probes, k, 0)
        best = found.people
        for _ in range(_MAX_LOOKS):
            if found.dead_in_play:
                # A row that died may have been replaced by one beyond the rows known so far (rule 3): these, too.
                self._look()
            if not found.dead_in_play or self.rows <= known:
                return [
                    [Candidate(self.person(person), self.user_id(person), score) for person, score in one]
                    for one in best
                ]
            found = self._search(probes, k, known)
            best, known = merged(best, found.people, k), self.rows
        return None

    def _search(self, probes: NDArray[np.float32], k: int, start: int) -> Found:
        """The match over the rows from `start` on."""
        segment, part = self.segment, slice(start, self.rows)
        rows = Rows(
            segment.codes[part],
            segment.scales[part],
            segment.errors[part],
            segment.references[part],
            segment.persons[part],
        )
        return search(rows, probes, k)

    def close(self) -> None:
        self._abandon()
        if self._segment is not None:
            os.close(self._descriptor)
            self._segment.close()
            self._segment = None

    def __enter__(self) -> GalleryReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
