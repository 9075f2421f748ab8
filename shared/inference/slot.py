"""The format of a slot: the memory that one camera shares with the inference process. Pure layout: no process, no socket, no clock.

    ┌ 0 ─────────────┬ 64 ─────────┬ 256 ───────────┬ 4096 ─────────────┬ 4096 + room.pixels ─┐
    │ constants      │ request     │ answer         │ pixels            │ results             │
    │ camera, once   │ camera      │ inference      │ camera            │ inference           │
    └────────────────┴─────────────┴────────────────┴───────────────────┴─────────────────────┘

A camera has one slot, and at most one request in it. It writes the pixels in place, then the request, then rings: it sends a byte over the
socket that belongs to the slot. The inference process reads the pixels where they are, writes the results, then the answer, then rings
back. The system calls order the writes of both sides.

What keeps a camera from another's answer, or from an old one:

1. A slot is mapped by one camera and one inference process only. It has no name; the camera sends its descriptor over the socket.
2. A socket and its slot live and die together. When the socket ends, or an answer is late, the camera drops both and makes new ones. So a
   process that died over a half-written slot leaves nothing behind that is ever read again.
3. Each slot has a random number, its session, and each request in it the next sequence number. An answer repeats both. If they are not
   those of the request that waits, it is no answer.
4. Each side takes the other's header as one copy, checks every number in it against the slot's room, and then uses the copy only. What
   the other side writes meanwhile can spoil pixels or results of this one slot, and nothing else.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

FORMAT = 1
MAGIC = b"ROLLSLOT"
HEAD_BYTES = 4096
MAX_PICTURES = 2  # in one search
# More faces in one picture are no faces, or nobody's business. A face takes 60 bytes.
MAX_FACES = 1024
FACE_FLOATS = 15  # box x1 y1 x2 y2, five points x y, score
MAX_SLOT_BYTES = 256 << 20
_PAGE = 4096
_CONSTANTS = struct.Struct("<8sIIQQQ")  # magic, format, 0, session, bytes of pixels, bytes of results
_REQUEST_AT, _ANSWER_AT = 64, 256
_REQUEST = struct.Struct("<QQIIII")  # session, sequence, kind, how many, side of a crop, 0
_PICTURE = struct.Struct("<IIIId")  # width and height of the picture, of the frame; scale
_ANSWER = struct.Struct(
    "<QQIIIIId"
)  # session, sequence, outcome, rows of the first and second result, width of a row, 0, busy seconds


class SlotFault(ValueError):
    """The other side wrote something that is no request or no answer. Its connection has to end."""


class Kind(IntEnum):
    """What is asked for: faces in pictures, embeddings of crops, or whether faces are alive, from crops of another size."""

    SEARCH = 1
    EMBED = 2
    LIVENESS = 3


class Outcome(IntEnum):
    DONE = 1
    REFUSED = 2  # one of the crops gives no embedding, or the liveness model no probability


@dataclass(frozen=True)
class Room:
    """How much a slot holds, bytes."""

    pixels: int
    results: int

    @property
    def slot(self) -> int:
        """The size of the whole slot."""
        return HEAD_BYTES + self.pixels + self.results


@dataclass(frozen=True)
class Picture:
    """One picture to search: a frame that the camera has scaled. `size`, `frame`: (width, height) of the picture and of the frame it was
    made from, pixels. `scale`: picture / frame."""

    size: tuple[int, int]
    frame: tuple[int, int]
    scale: float

    @property
    def size_bytes(self) -> int:
        return 3 * self.size[0] * self.size[1]


@dataclass(frozen=True)
class Request:
    """`pictures`: of a search. `crops`, `side_px`: of all else."""

    session: int
    sequence: int
    kind: Kind
    pictures: tuple[Picture, ...] = ()
    crops: int = 0
    side_px: int = 0


@dataclass(frozen=True)
class Answer:
    """`rows`: how many rows each result has. `width`: how many numbers a row has. `busy_s`: how long a processor was busy with it."""

    session: int
    sequence: int
    outcome: Outcome
    rows: tuple[int, int] = (0, 0)
    width: int = 0
    busy_s: float = 0.0


def room_for(pictures_bytes: int, crops: int, side_px: int, dim: int) -> Room:
    """The room of a slot for searches of so many bytes of pictures, and for embeddings of so many crops."""
    pixels = max(pictures_bytes, 3 * crops * side_px**2)
    results = 4 * max(MAX_PICTURES * MAX_FACES * FACE_FLOATS, crops * dim)
    room = Room(_whole_pages(pixels), _whole_pages(results))
    if room.slot > MAX_SLOT_BYTES:
        raise ValueError(f"a slot of {room.slot} bytes; at most {MAX_SLOT_BYTES}")
    return room


class Slot:
    """A view of one mapped slot. Both sides have one, of the same memory."""

    def __init__(self, memory: mmap.mmap, room: Room, session: int) -> None:
        self._memory, self.room, self.session = memory, room, session
        self._pixels = np.frombuffer(memory, np.uint8, room.pixels, HEAD_BYTES)
        self._results = np.frombuffer(memory, np.float32, room.results // 4, HEAD_BYTES + room.pixels)

    @classmethod
    def begin(cls, memory: mmap.mmap, room: Room, session: int) -> Slot:
        """The camera's side: make fresh memory, which is zero, a slot."""
        _CONSTANTS.pack_into(memory, 0, MAGIC, FORMAT, 0, session, room.pixels, room.results)
        return cls(memory, room, session)

    @classmethod
    def attach(cls, memory: mmap.mmap) -> Slot:
        """The inference side. Raises SlotFault for what is no slot."""
        if len(memory) < HEAD_BYTES:
            raise SlotFault("too short for a slot")
        magic, version, _, session, pixels, results = _CONSTANTS.unpack_from(memory, 0)
        room = Room(pixels, results)
        if magic != MAGIC or version != FORMAT or pixels % _PAGE or results % _PAGE or room.slot != len(memory):
            raise SlotFault("no slot of this format")
        return cls(memory, room, session)

    def close(self) -> None:
        """Let go of the memory. Views of it that are in use keep it mapped until they are gone."""
        self._pixels, self._results = np.empty(0, np.uint8), np.empty(0, np.float32)

    # --- the camera's side -----------------------------------------------------------------------------------------

    def pixels(self, offset: int, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """The pixels from byte `offset` on, as an array in place. Raises SlotFault if there is no room."""
        count = int(np.prod(shape, dtype=np.int64))
        if offset + count > len(self._pixels):
            raise SlotFault("pixels beyond the slot's room")
        return self._pixels[offset : offset + count].reshape(shape)

    def ask(self, request: Request) -> None:
        """Write a request; its pixels are there already."""
        for place, picture in enumerate(request.pictures):
            at = _REQUEST_AT + _REQUEST.size + place * _PICTURE.size
            _PICTURE.pack_into(self._memory, at, *picture.size, *picture.frame, picture.scale)
        count = len(request.pictures) if request.kind is Kind.SEARCH else request.crops
        head = (request.session, request.sequence, request.kind, count, request.side_px, 0)
        _REQUEST.pack_into(self._memory, _REQUEST_AT, *head)

    def answer(self, sequence: int) -> Answer:
        """The answer to request `sequence`. Raises SlotFault if what is there is none."""
        raw = bytes(self._memory[_ANSWER_AT : _ANSWER_AT + _ANSWER.size])
        session, answered, outcome, first, second, width, _, busy_s = _ANSWER.unpack(raw)
        if (session, answered) != (self.session, sequence):
            raise SlotFault("an answer to something else")
        if outcome not in (Outcome.DONE, Outcome.REFUSED) or (first + second) * width > len(self._results):
            raise SlotFault("an answer that can't be")
        return Answer(session, answered, Outcome(outcome), (first, second), width, busy_s)

    def take(self, answer: Answer) -> list[NDArray[np.float32]]:
        """Copies of both results, (rows, width) float32 each. What was asked and answered is wiped: it may be a person's face."""
        found, at = [], 0
        for rows in answer.rows:
            found.append(self._results[at : at + rows * answer.width].reshape(rows, answer.width).copy())
            at += rows * answer.width
        self._results[:at] = 0
        return found

    def wipe(self, used_bytes: int) -> None:
        """Overwrite the first `used_bytes` of the pixels."""
        self._pixels[:used_bytes] = 0

    # --- the inference side ----------------------------------------------------------------------------------------

    def request(self, after: int) -> Request:
        """The request that waits. `after`: the last one's sequence number. Raises SlotFault for anything that can't be asked."""
        size = _REQUEST.size + MAX_PICTURES * _PICTURE.size
        raw = bytes(self._memory[_REQUEST_AT : _REQUEST_AT + size])
        session, sequence, kind, count, side_px, _ = _REQUEST.unpack_from(raw)
        if session != self.session or sequence != after + 1:
            raise SlotFault("a request of another session, or out of turn")
        if kind == Kind.SEARCH and 1 <= count <= MAX_PICTURES:
            pictures = tuple(_picture(raw, _REQUEST.size + place * _PICTURE.size) for place in range(count))
            if sum(picture.size_bytes for picture in pictures) <= self.room.pixels:
                return Request(session, sequence, Kind.SEARCH, pictures)
        if (
            kind in (Kind.EMBED, Kind.LIVENESS)
            and count >= 1
            and side_px >= 1
            and 3 * count * side_px**2 <= self.room.pixels
        ):
            return Request(session, sequence, Kind(kind), (), count, side_px)
        raise SlotFault("a request that can't be")

    def pictures(self, request: Request) -> list[NDArray[np.uint8]]:
        """The pictures of a search, (height, width, 3) BGR, in place."""
        found, at = [], 0
        for picture in request.pictures:
            found.append(self.pixels(at, (picture.size[1], picture.size[0], 3)))
            at += picture.size_bytes
        return found

    def crops(self, request: Request) -> list[NDArray[np.uint8]]:
        """The crops of a request, (side, side, 3) BGR, in place."""
        return list(self.pixels(0, (request.crops, request.side_px, request.side_px, 3)))

    def write(self, results: Sequence[NDArray[np.float32]]) -> None:
        """Write one or two results, (rows, width) float32 of the same width. Raises SlotFault if there is no room."""
        at = 0
        for result in results:
            if at + result.size > len(self._results):
                raise SlotFault("results beyond the slot's room")
            self._results[at : at + result.size] = result.reshape(-1)
            at += result.size

    def conclude(self, answer: Answer) -> None:
        """Write the answer's head, after its results."""
        head = (answer.session, answer.sequence, answer.outcome, *answer.rows, answer.width, 0, answer.busy_s)
        _ANSWER.pack_into(self._memory, _ANSWER_AT, *head)


def _picture(raw: bytes, at: int) -> Picture:
    width, height, frame_width, frame_height, scale = _PICTURE.unpack_from(raw, at)
    if not (width and height and frame_width and frame_height and scale > 0):
        raise SlotFault("a picture of no size")
    return Picture((width, height), (frame_width, frame_height), scale)


def _whole_pages(size: int) -> int:
    return max(1, -(-size // _PAGE)) * _PAGE
