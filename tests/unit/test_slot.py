"""A slot's format: what one side writes the other reads, and nothing that could belong to somebody else is ever taken for an answer."""

from __future__ import annotations

import contextlib
import mmap
import random

import numpy as np
import pytest

from shared.inference.slot import (
    FACE_FLOATS,
    HEAD_BYTES,
    MAX_SLOT_BYTES,
    Answer,
    Kind,
    Outcome,
    Picture,
    Request,
    Room,
    Slot,
    SlotFault,
    room_for,
)

_SESSION = 0x1234_5678_9ABC_DEF0
_ROOM = room_for(2 * 3 * 64 * 36, 8, 112, 16)


def _both(session: int = _SESSION) -> tuple[Slot, Slot]:
    """A camera's and the inference process's view of one slot."""
    memory = mmap.mmap(-1, _ROOM.slot)
    return Slot.begin(memory, _ROOM, session), Slot.attach(memory)


def _search(sequence: int = 1, session: int = _SESSION) -> Request:
    pictures = (Picture((64, 36), (1280, 720), 0.05), Picture((32, 18), (1280, 720), 0.025))
    return Request(session, sequence, Kind.SEARCH, pictures)


def test_a_search_goes_there_and_its_faces_come_back() -> None:
    """Pixels are read where the camera wrote them; sizes and scale are those that it told, to the last bit."""
    camera, engine = _both()
    asked = _search()
    for number, place in enumerate(camera.pictures(asked)):
        place[:] = number + 7
    camera.ask(asked)
    heard = engine.request(0)
    assert heard == asked
    assert [picture.shape for picture in engine.pictures(heard)] == [(36, 64, 3), (18, 32, 3)]
    assert [int(picture.min()) for picture in engine.pictures(heard)] == [7, 8]
    faces = np.random.default_rng(0).normal(size=(5, FACE_FLOATS)).astype(np.float32)
    engine.write([faces[:3], faces[3:]])
    engine.conclude(Answer(_SESSION, 1, Outcome.DONE, (3, 2), FACE_FLOATS, 0.25))
    answer = camera.answer(1)
    assert (answer.outcome, answer.busy_s) == (Outcome.DONE, 0.25)
    first, second = camera.take(answer)
    assert np.array_equal(first, faces[:3])
    assert np.array_equal(second, faces[3:])


def test_what_was_answered_is_wiped() -> None:
    """An embedding is somebody's face: once taken, it is not in the slot any more. Nor is the crop that it was made of."""
    camera, engine = _both()
    request = Request(_SESSION, 1, Kind.EMBED, (), 2, 112)
    for place in camera.crops(request):
        place[:] = 77
    camera.ask(request)
    engine.write([np.full((2, 16), 0.25, np.float32)])
    engine.conclude(Answer(_SESSION, 1, Outcome.DONE, (2, 0), 16))
    assert camera.take(camera.answer(1))[0].tolist() == [[0.25] * 16] * 2
    camera.wipe(2 * 3 * 112**2)
    again = engine.crops(engine.request(0))
    assert max(int(crop.max()) for crop in again) == 0
    assert camera.take(Answer(_SESSION, 1, Outcome.DONE, (2, 0), 16))[0].max() == 0


@pytest.mark.parametrize(
    "answer",
    [
        Answer(_SESSION, 1, Outcome.DONE, (1, 0), 16),
        Answer(_SESSION ^ 1, 2, Outcome.DONE, (1, 0), 16),
        Answer(_SESSION, 3, Outcome.DONE, (1, 0), 16),
        Answer(_SESSION, 2, Outcome.DONE, (2**31, 2**31), 2**31),
    ],
    ids=["old", "another session's", "ahead", "without end"],
)
def test_no_other_answer_is_taken(answer: Answer) -> None:
    """Only the answer to this slot's latest request counts, and only if it fits into the slot."""
    camera, engine = _both()
    engine.conclude(answer)
    with pytest.raises(SlotFault):
        camera.answer(2)


def test_a_fresh_slot_holds_no_answer() -> None:
    camera, _ = _both()
    with pytest.raises(SlotFault):
        camera.answer(1)


@pytest.mark.parametrize(
    "request_",
    [
        _search(sequence=2),
        _search(session=_SESSION + 1),
        Request(_SESSION, 1, Kind.SEARCH, ()),
        Request(_SESSION, 1, Kind.SEARCH, (Picture((20000, 20000), (1, 1), 1.0),)),
        Request(_SESSION, 1, Kind.SEARCH, (Picture((64, 0), (1, 1), 1.0),)),
        Request(_SESSION, 1, Kind.SEARCH, (Picture((64, 36), (1280, 720), float("nan")),)),
        Request(_SESSION, 1, Kind.EMBED, (), 0, 112),
        Request(_SESSION, 1, Kind.EMBED, (), 2**31, 2**31),
    ],
    ids=["out of turn", "another session", "no picture", "too large", "no height", "no scale", "no crop", "many crops"],
)
def test_no_request_reaches_beyond_its_slot(request_: Request) -> None:
    """A camera may be in somebody else's hands: its request is refused before a byte of it is used."""
    camera, engine = _both()
    camera.ask(request_)
    with pytest.raises(SlotFault):
        engine.request(0)


def test_rubbish_is_refused_or_fits() -> None:
    """Whatever stands in a slot's head, either side refuses it, or what it uses lies within the slot."""
    chance = random.Random(5)
    memory = mmap.mmap(-1, _ROOM.slot)
    camera, engine = Slot.begin(memory, _ROOM, _SESSION), Slot.attach(memory)
    camera.ask(_search())
    engine.conclude(Answer(_SESSION, 1, Outcome.DONE, (3, 2), FACE_FLOATS))
    whole = memory[:HEAD_BYTES]
    for _ in range(3000):
        memory[:HEAD_BYTES] = whole
        for _ in range(chance.randint(1, 4)):
            memory[chance.randrange(64, 340)] = chance.randrange(256)
        try:
            asked = engine.request(0)
            assert sum(picture.nbytes for picture in engine.pictures(asked) + engine.crops(asked)) >= 0
        except SlotFault:
            pass
        with contextlib.suppress(SlotFault):
            camera.take(camera.answer(1))


@pytest.mark.parametrize("at", [0, 8, 24, 32])
def test_memory_that_is_no_slot_is_refused(at: int) -> None:
    """Wrong letters, another format, or sizes that are not the memory's."""
    memory = mmap.mmap(-1, _ROOM.slot)
    Slot.begin(memory, _ROOM, _SESSION)
    memory[at] ^= 0x40
    with pytest.raises(SlotFault):
        Slot.attach(memory)


def test_a_slot_has_a_largest_size() -> None:
    with pytest.raises(ValueError, match="at most"):
        room_for(MAX_SLOT_BYTES, 8, 112, 512)
    assert Room(4096, 4096).slot == HEAD_BYTES + 8192
