"""The reader's side of the gallery block. Between two pictures, a process checks for changes with one pread. It matches faces against the
shared memory itself, without a copy.

gallery/block.py has the specification; the rules named here are its rules.
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
from shared.gallery.check import PIECE_ROWS, check_people, check_rows, check_tail
from shared.gallery.files import head_path, open_ours
from shared.gallery.match import Candidate, merged, search
from shared.gallery.match import Found as Match
from shared.gallery.negatives import Found, are_negatives, is_negative, without_negatives
from shared.gallery.segment import Segment
from shared.gallery.tail import Tail, sample_of
from shared.model_id import ModelId
from shared.process.freed_arrays import overwrite_small_arrays

_T = TypeVar("_T")
_TOUCH_BYTES = 4096
_TOUCH_AT_ONCE_BYTES = 32 << 20  # so many bytes of codes are touched at once: that takes a few milliseconds
_MAX_HEAD_READS = 4  # while its CRC is wrong
_MAX_EXTENSIONS = 4  # how often one reading goes on to rows that were published meanwhile
# How often a reading is tried. The writer pauses before it invalidates readings, so that a third try is rare.
_MAX_READINGS = 8
_PIECE_ROWS = 4096
_HEAD_FILE_CHECK_S = 1.0  # how often to check whether the head is another file now
# How often all pieces are read, from the first on. Between two compactions there is time for more than one round.
_MAX_ROUNDS = 8
# How often the tail's sample is read, which takes milliseconds, until nothing is published meanwhile.
_MAX_TAIL_READINGS = 64
# The niceness of the second threads: a third of the usual share where processors are short. A switch then takes 0.2 s instead of 0.1 s,
# and delays matches half as long.
_NICENESS = 5
# To touch a page is to read a little of it, so that it is mapped before a match needs it. A generation whose pages are not all touched
# after this time is used as it is: its first match is slow, but the gallery is the right one.
_TOUCH_LIMIT_S = 5.0


def _lower_priority() -> None:
    """Let the thread that matches run before the calling one. Only Linux has a niceness for each thread."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # works without it: a service's system-call filter can refuse the call
            os.nice(_NICENESS)


def _close_aside(segment: Segment) -> None:
    _lower_priority()
    segment.close_in_steps()


def _start_aside(work: Callable[[], None], name: str) -> None:
    """Do `work` in a second thread; in the calling one if no thread can be started (a limit of tasks)."""
    try:
        threading.Thread(target=work, name=name, daemon=True).start()
    except RuntimeError:
        work()


class _Coming:
    """A generation that a reader is about to use. Its pages are touched first, or the page faults would delay the first match."""

    def __init__(self, segment: Segment, rows: int) -> None:
        self.segment, self.rows = segment, rows
        self.done = threading.Event()
        self._until = time.monotonic() + _TOUCH_LIMIT_S

    @property
    def is_ready(self) -> bool:
        """Whether its pages are touched, or the time for that is over."""
        return self.done.is_set() or time.monotonic() >= self._until

    def start(self) -> None:
        _start_aside(self._touch_aside, "gallery-touch")

    def _touch_aside(self) -> None:
        try:
            _lower_priority()
            self.touch()
        finally:
            self.done.set()  # also after an error: the generation can be used untouched

    def touch(self) -> None:
        segment, rows = self.segment, self.rows
        for section in (segment.codes[:rows], segment.scales[:rows], segment.errors[:rows], segment.persons[:rows]):
            section.reshape(-1)[:: _TOUCH_BYTES // section.itemsize].max(initial=0)


class Live(NamedTuple):
    """Copies of n live rows: `row_ids` (n,), their people's `names` (n), `references` (n, dim) float32 of unit L2 norm."""

    row_ids: NDArray[np.int64]
    names: list[str]
    references: NDArray[np.float32]


class _Counts(NamedTuple):
    references: int
    negatives: int


class GalleryReader:
    """A process's view of the gallery. Call `refresh` between two pictures, and `match` as often as needed. Not thread-safe."""

    def __init__(self, run_dir: Path) -> None:
        """Open the block of the site with this run folder.

        Raises TemporaryError if nothing is published yet, ConfigurationError if the block is damaged or of another format version.
        """
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
        self._check_head_file_at = time.monotonic() + _HEAD_FILE_CHECK_S
        self._is_new_head = False
        self._raw = b""
        self._segment: Segment | None = None
        self._texts: dict[int, str | None] = {}
        self.rows = 0
        self.counts_from = 0
        self._sequence = self._moves = 0
        self.published_ns = 0
        self.tail = Tail()
        self._coming: _Coming | None = None
        try:
            self.refresh()
            if self._segment is None:
                raise TemporaryError("the gallery block is not published yet", where=self._where, remedy="try again")
        except BaseException:
            os.close(self._descriptor)
            raise

    def refresh(self) -> bool:
        """Follow the writer to the newest published state. Returns whether the state in use is a new one.

        False: nothing changed (this costs one pread), a new generation is not ready yet, or the head can't be read now. Raises
        ConfigurationError as the constructor.
        """
        raw = self._read_head()
        if raw == self._raw:
            if not self._head_was_replaced():
                return False
            raw = self._read_head()
        for _ in range(4):  # a generation can be replaced between the pread and the open; then the head is read again
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
        """The bytes of the head, read again while the writer is writing it."""
        raw = os.pread(self._descriptor, HEAD_SIZE, 0)
        for _ in range(_MAX_HEAD_READS):
            if raw == self._raw or is_whole(raw):
                break
            before, raw = raw, os.pread(self._descriptor, HEAD_SIZE, 0)
            if raw == before:
                break
        return raw

    def _head_was_replaced(self) -> bool:
        """Check once a second whether the head is another file now, and switch to it."""
        now = time.monotonic()
        if now < self._check_head_file_at:
            return False
        self._check_head_file_at = now + _HEAD_FILE_CHECK_S
        return self._reopen_head()

    def _reopen_head(self) -> bool:
        """Switch to the head's file if it is another one now, after a restart or because it was removed and made anew.

        Returns whether it switched. It does not switch to a head that is still empty.
        """
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
        """Use what `head` publishes. Returns False while the generation that it names is not ready yet."""
        # A new head's file can name another generation with the same number.
        if self._segment is None or self._segment.generation != head.generation or self._is_new_head:
            fresh = self._ready(head)
            if fresh is None:
                self._catch_up(head)
                return False
            old, self._segment = self._segment, fresh
            self._texts, self._is_new_head = {}, False
            if old is not None:
                # The last process to unmap the old generation frees its memory. That takes 0.4 s for 2.5 GiB: too long between two pictures.
                _start_aside(partial(_close_aside, old), "gallery-close")
        self._take(head, head.rows)
        self.published_ns = head.published_ns
        return True

    def _take(self, head: Head, rows: int) -> None:
        """Take over the numbers of `head`. `rows`: of the generation that this reader uses, which can be another than the head's."""
        if head.counts_from != self.counts_from:
            # A person may have been forgotten. Keep neither the name nor the embedding in this process's memory.
            self._texts.clear()
            overwrite_small_arrays()
        self.rows, self._sequence, self.counts_from, self._moves = rows, head.sequence, head.counts_from, head.moves
        self.tail = head.tail

    def _ready(self, head: Head) -> Segment | None:
        """The generation that `head` names, mapped and touched. None while a second thread still touches it, because it is large."""
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
        """Close a generation that was replaced before it was ready, or is not needed any more."""
        coming, self._coming = self._coming, None
        if coming is not None:
            # Touching a whole gallery takes tenths of a second. If it takes longer, the thread still has views of the mapping, and the
            # mapping ends with them.
            coming.done.wait(_TOUCH_LIMIT_S)
            coming.segment.close()

    def _catch_up(self, head: Head) -> None:
        """Take over what `head` publishes for the generation that this reader uses. It does not switch to another one."""
        same = head.generation == self.generation and not self._is_new_head
        rows: int | None = head.rows if same else self.segment.ended
        self._take(head, self.rows if rows is None else rows)

    def _read_head_again(self) -> None:
        """Read the head and `_catch_up` with it. Then `counts_from` decides whether what was read before counts.

        Raises TemporaryError if the head can't be read.
        """
        for _ in range(_MAX_HEAD_READS):
            raw = self._read_head()
            if raw == self._raw:
                return
            if head := parse_head(raw):
                self._catch_up(head)
                return
        raise TemporaryError("the gallery block's head cannot be read", where=self._where, remedy="try again")

    def _settled(self, read: Callable[[], _T | None]) -> _T:
        """Call `read` until its answer counts (rule 5), and return that. None from `read` means: rows came too fast, call it again.

        Raises TemporaryError if the answer of the last permitted try does not count either.
        """
        for _ in range(_MAX_READINGS):
            began = self._sequence
            answer = read()
            self._read_head_again()
            if began < self.counts_from:
                self._texts.clear()  # the names read meanwhile can be those of a person who was forgotten
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
        """The generation in use. Raises TemporaryError after `close`."""
        if self._segment is None:
            raise TemporaryError("the gallery reader is closed", remedy="open another")
        return self._segment

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the references' model; empty if nobody was ever enrolled."""
        return self.segment.constants.fingerprint

    @property
    def model_id(self) -> ModelId | None:
        """The model of the references. None if nobody was ever enrolled."""
        return ModelId.parse(self.model, self.fingerprint, self.dim) if self.model else None

    @property
    def model(self) -> str:
        """The name of the references' model, engine/pack; empty if nobody was ever enrolled."""
        return self.segment.constants.model

    @property
    def dim(self) -> int:
        """Length of the embeddings."""
        return self.segment.shape.dim

    @property
    def generation(self) -> int:
        """Number of the generation in use."""
        return self.segment.generation

    def count_live(self) -> int:
        """How many live references are published. Raises TemporaryError if the gallery changes again and again meanwhile."""
        return self._settled(self._counted).references

    def count_negatives(self) -> int:
        """How many negatives are published. Raises TemporaryError as `count_live`."""
        return self._settled(self._counted).negatives

    def live_pieces(self) -> Iterator[Live]:
        """Copies of all live references, some thousand at a time, each once. Negatives are left out.

        A reference that is live from beginning to end is in one of the pieces; one that is added or deleted meanwhile may be.
        Raises TemporaryError if the gallery is compacted again and again meanwhile.
        """
        seen: set[int] = set()
        for _ in range(_MAX_ROUNDS):
            moves, start = self._moves, 0
            while start < self.rows:  # `self.rows` changes with what is published meanwhile
                piece, start = self._settled(partial(self._copied, start, seen))
                if piece.names:
                    seen.update(piece.row_ids.tolist())
                    yield piece
            if self._moves == moves:
                return
        raise self._changed_too_often(_MAX_ROUNDS)

    def copy_live(self) -> Live:
        """All pieces of `live_pieces` in one. Raises TemporaryError as that does."""
        pieces = list(self.live_pieces())
        nothing = Live(np.empty(0, np.int64), [], np.empty((0, self.dim), np.float32))
        return Live(
            np.concatenate([nothing.row_ids, *(piece.row_ids for piece in pieces)]),
            [name for piece in pieces for name in piece.names],
            np.concatenate([nothing.references, *(piece.references for piece in pieces)]),
        )

    def check(self) -> list[str]:
        """What is unsound in the published rows and their tail, one line for each fault. The writer can go on meanwhile.

        Raises TemporaryError if the gallery changes again and again.
        """
        faults = self._faults_of_rows()
        for _ in range(_MAX_EXTENSIONS):
            of_people = self._settled(lambda: check_people(self.segment, self.rows))
            if not of_people:  # during an update a reference is there twice, which is no fault: check again
                break
            self.refresh()
        return faults + of_people + self._faults_of_tail()

    def _faults_of_rows(self) -> list[str]:
        for _ in range(_MAX_ROUNDS):
            moves, start = self._moves, 0
            faults: list[str] = []
            while start < self.rows:
                found, start = self._settled(partial(self._faults_of, start))
                faults += found
            if self._moves == moves:  # else a row may have moved from a later piece into an earlier one
                return faults
        raise self._changed_too_often(_MAX_ROUNDS)

    def _faults_of_tail(self) -> list[str]:
        """Where the tail is not that of the rows. A fault counts if two readings in a row find it under the same head: the writer changes
        rows a moment before it publishes their tail."""
        found_under = None
        for _ in range(_MAX_TAIL_READINGS):
            if self._coming is not None:  # the head's tail is of a generation that this reader does not use yet
                self._coming.done.wait(_TOUCH_LIMIT_S)
            self.refresh()
            head, segment, rows = (self.generation, self._sequence), self.segment, slice(0, self.rows)
            sample = sample_of(segment.references[rows], segment.persons[rows].copy(), segment.row_ids[rows].copy())
            tail = self.tail
            self._read_head_again()
            if (self.generation, self._sequence) != head:
                continue
            faults = check_tail(tail, sample)
            if not faults or found_under == head:
                return faults
            found_under = head
        raise self._changed_too_often(_MAX_TAIL_READINGS)

    def _faults_of(self, start: int) -> tuple[list[str], int]:
        """What is unsound in the next piece from row `start` on, and where the piece after it begins."""
        stop = min(start + PIECE_ROWS, self.rows)
        return check_rows(self.segment, start, stop), stop

    def user_ids(self) -> dict[str, str | None]:
        """The user id, or None, of every person who has a live reference, by name. Raises TemporaryError as `count_live`."""
        return self._settled(self._users)

    def _users(self) -> dict[str, str | None]:
        persons = self.segment.persons[: self.rows]
        found = {self.person(index): self.user_id(index) for index in np.unique(persons[persons >= 0]).tolist()}
        return {name: user_id for name, user_id in found.items() if not is_negative(name)}

    def _counted(self) -> _Counts | None:
        """How many different references and negatives are live; None if rows were published faster than this could read them."""
        segment, known = self.segment, 0
        row_ids = np.empty(0, np.int64)
        for _ in range(_MAX_EXTENSIONS):
            part, known = slice(known, self.rows), self.rows
            row_ids = np.append(row_ids, segment.row_ids[part][segment.persons[part] >= 0])
            self._read_head_again()
            if self.rows <= known:
                row_ids = np.unique(row_ids)
                negatives = int(are_negatives(row_ids).sum())
                return _Counts(len(row_ids) - negatives, negatives)
        return None

    def _copied(self, start: int, seen: set[int]) -> tuple[Live, int]:
        """Copies of the live references of the next piece, from row `start` on, whose ids are not in `seen`; and where the piece after
        it begins. That is below `start` if a compaction has lowered the number of rows below it: new rows come there."""
        segment, stop = self.segment, min(start + _PIECE_ROWS, self.rows)
        # Loaded once: of a reference that is there twice, the one taken here must not be dead when its person is looked up.
        persons = segment.persons[start:stop].copy()
        rows = np.flatnonzero((persons >= 0) & ~are_negatives(segment.row_ids[start:stop]))
        # During a compaction or an update a reference can be there twice: the last one counts.
        last = {row_id: row for row, row_id in zip(rows.tolist(), segment.row_ids[start + rows].tolist(), strict=True)}
        rows = np.array([row for row_id, row in last.items() if row_id not in seen], np.intp)
        persons, rows = persons[rows], start + rows
        names = {index: self.person(index) for index in np.unique(persons).tolist()}
        live = Live(segment.row_ids[rows], [names[index] for index in persons.tolist()], segment.references[rows])
        return live, stop

    def person(self, index: int) -> str:
        """The name of the person with this index."""
        if index not in self._texts:
            self._texts[index] = self.segment.text(int(self.segment.names[index]))
        return self._texts[index] or ""

    def user_id(self, index: int) -> str | None:
        """The user id of the person with this index; None if there is none."""
        return self.segment.text(int(self.segment.user_ids[index]))

    def match(self, probes: NDArray[np.float32], k: int = 2) -> list[list[Candidate]]:
        """For each of `probes` (n, dim; float32, unit L2 norm) its `k` best people, each with their best score, best first.

        Exact: the same people and scores (within 1e-6) as float32 brute force over the live rows. Negatives are never in the answer, but
        each person has the `rival` that competes with them; people who have a higher rival of their own are listed beyond the `k`. In an
        empty gallery each probe's list is empty. Raises TemporaryError if the gallery changes again and again meanwhile; ValueError for
        probes of another dimension.
        """
        return self._settled(lambda: without_negatives(self._match, probes, k))

    def _match(self, probes: NDArray[np.float32], k: int) -> list[list[Found]] | None:
        """The best `k` people, negatives among them; None if rows were replaced faster than this could read the new ones."""
        known = self.rows
        found = self._search(probes, k, 0)
        best = found.people
        for _ in range(_MAX_EXTENSIONS):
            if found.dead_in_play:
                # A dead row may have been replaced by a row beyond those known so far (rule 3d): search these, too.
                self._read_head_again()
            if not found.dead_in_play or self.rows <= known:
                return [[(self.person(person), self.user_id(person), score) for person, score in one] for one in best]
            found = self._search(probes, k, known)
            best, known = merged(best, found.people, k), self.rows
        return None

    def _search(self, probes: NDArray[np.float32], k: int, start: int) -> Match:
        """Search the rows from `start` on."""
        return search(self.segment.searched(start, self.rows), probes, k)

    def close(self) -> None:
        """Unmap the gallery. A second call does nothing."""
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
