"""Who looks like whom: scores by person against plain loops, and what is pointed out of them."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.vectors import noise, people, unit
from workers.calibration import neighbours as look_alikes
from workers.calibration.neighbours import Neighbours, alike_pairs, copy_from, disagreeing, unlike_below
from workers.photos.look_alikes import Disagreement, LookAlike, remark_lines

_COPIES = copy_from(0.45)


def gallery(seed: int, persons: int = 30, each: int = 4) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """References in shuffled order: dimension 32, so that strangers are somewhat alike."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(persons * each)
    return people(rng, persons, each, 32)[order], np.repeat(np.arange(persons, dtype=np.int32), each)[order]


def ask(vectors: NDArray[np.float32], persons: NDArray[np.int32], pieces: int = 3) -> Neighbours:
    """Every reference as a probe, the gallery looked at in pieces."""
    found = Neighbours(vectors, persons, _COPIES)
    for rows in np.array_split(np.arange(len(vectors)), pieces):
        found.compare(vectors[rows], persons[rows], int(rows[0]))
    return found


@pytest.mark.parametrize("seed", range(3))
def test_scores_are_those_of_plain_loops(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Best own reference, best other person, second other person, and their rows: whatever the pieces and chunks are."""
    monkeypatch.setattr(look_alikes, "_PROBES_AT_ONCE", 7)
    monkeypatch.setattr(look_alikes, "_ROWS_AT_ONCE", 11)
    vectors, persons = gallery(seed)
    found, cosines = ask(vectors, persons), vectors @ vectors.T
    for i, scores in enumerate(cosines):
        own = [(scores[j], j) for j in np.flatnonzero(persons == persons[i]) if j != i]
        assert (found.own.scores[i], found.own.rows[i]) == (pytest.approx(max(own)[0], abs=1e-6), max(own)[1])
        assert found.own_count[i] == len(own)
        best = sorted(
            (max((scores[j], j) for j in np.flatnonzero(persons == other)) for other in set(persons) - {persons[i]}),
            reverse=True,
        )
        for column, (score, row) in zip((found.first, found.second), best, strict=False):
            assert column.scores[i] == pytest.approx(score, abs=1e-6)
            assert (column.rows[i], column.persons[i]) == (row, persons[row])


def test_copies_are_nobodys_other_reference() -> None:
    """The probe itself and copies of its picture count neither as likeness nor as references; the lowest row is known."""
    rng = np.random.default_rng(5)
    first, second = people(rng, 1, 2, 64)
    vectors = np.array([first, second, unit((first + 0.05 * noise(rng, 1, 64)[0])[None])[0]])
    found = ask(vectors, np.zeros(3, np.int32), pieces=1)
    assert found.own_count.tolist() == [1, 2, 1]
    assert found.copy_rows.tolist() == [0, 1, 0]
    assert found.own.scores[0] == pytest.approx(float(first @ second), abs=1e-6)


def test_rows_that_belong_to_nobody_do_not_answer() -> None:
    """A dead row, index -1, is nobody's look-alike, and a gallery of one person has none."""
    vectors, persons = gallery(7, persons=2, each=3)
    gone = np.where(persons == 1, -1, persons).astype(np.int32)
    found = Neighbours(vectors[persons == 0], persons[persons == 0], _COPIES)
    found.compare(vectors, gone, 0)
    assert (found.first.persons == -1).all()
    assert (found.first.scores < -1.5).all()


def test_pairs_are_named_once_best_first() -> None:
    """Each pair of people once, by its most alike references, in falling order, at most as many as asked for."""
    vectors, persons = gallery(11)
    rows = np.arange(len(vectors))
    pairs = alike_pairs(ask(vectors, persons), persons, rows, 5)
    assert len({frozenset(pair.people) for pair in pairs}) == 5
    assert [pair.score for pair in pairs] == sorted((pair.score for pair in pairs), reverse=True)
    others = (vectors @ vectors.T)[persons[:, None] != persons[None]]
    assert pairs[0].score == pytest.approx(others.max(), abs=1e-6)
    for pair in pairs:
        assert tuple(persons[list(pair.rows)]) == pair.people
        assert float(vectors[pair.rows[0]] @ vectors[pair.rows[1]]) == pytest.approx(pair.score, abs=1e-6)


def test_photo_of_somebody_else_disagrees() -> None:
    """Planted in a folder of three it is pointed out, whether its true person is enrolled or not; the others are not."""
    rng = np.random.default_rng(3)
    vectors, persons = people(rng, 20, 4), np.repeat(np.arange(20, dtype=np.int32), 4)
    stranger, known = people(rng, 1, 1), vectors[4:5] + 0.3 * noise(rng, 1)
    planted = np.concatenate([vectors, stranger, unit(known)])
    found = ask(planted, np.append(persons, [0, 0]).astype(np.int32))
    assert disagreeing(found, unlike_below(0.45, 0.05), 0.45).tolist() == [80, 81]


def test_two_photos_that_differ_accuse_nobody() -> None:
    """Which of two is the wrong one can't be told."""
    vectors = noise(np.random.default_rng(4), 6)
    found = ask(vectors, np.array([0, 0, 1, 1, 2, 2], np.int32), pieces=1)
    assert disagreeing(found, unlike_below(0.45, 0.05), 0.45).tolist() == []


def test_limits_follow_the_models_own_scale() -> None:
    """.98 where the threshold is .45; dlib's scores lie close below 1, and so do its limits."""
    assert copy_from(0.45) == pytest.approx(0.98)
    assert copy_from(0.945) == pytest.approx(0.998)
    assert unlike_below(0.45, 0.05) == pytest.approx(0.35)
    assert unlike_below(0.945, 0.01) == pytest.approx(0.925)


def test_remarks_are_bounded_and_counted() -> None:
    """Twenty lines and how many more there are, the disagreements first; the rest is in the JSON."""
    alike = [LookAlike("A", f"{i}.jpg", "B", 0.71) for i in range(30)]
    strange = [Disagreement("A", "x.jpg", 0.1)]
    lines = remark_lines(alike, strange, 20)
    assert len(lines) == 21
    assert lines[0].startswith("x.jpg of A is not like A's other photos (0.10)")
    assert lines[1] == "0.jpg of A looks like B (0.71)"
    assert lines[-1].startswith("and 11 more")
    assert remark_lines(alike[:2], [], 20) == ["0.jpg of A looks like B (0.71)", "1.jpg of A looks like B (0.71)"]


def test_a_pair_that_is_left_out_makes_room_for_the_next() -> None:
    vectors, persons = gallery(1)
    found, rows = ask(vectors, persons), np.arange(len(persons))
    first, second = alike_pairs(found, persons, rows, 2)
    left_out = {(min(first.people), max(first.people))}
    assert alike_pairs(found, persons, rows, 1, left_out) == [second]
