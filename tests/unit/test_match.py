"""The match against float32 brute force: the same people, the same scores."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.gallery import match as match_module
from shared.gallery.match import Rows, match, merged, quantise
from tests.support.vectors import noise, people, unit


def rows_of(references: NDArray[np.float32], persons: NDArray[np.int32]) -> Rows:
    return Rows(*quantise(references), references, persons)


def brute_force(rows: Rows, probe: NDArray[np.float32], k: int) -> list[tuple[int, float]]:
    """Best reference of each live person, in float64."""
    scores = rows.references.astype(np.float64) @ probe.astype(np.float64)
    best: dict[int, float] = {}
    for person, score in zip(rows.persons.tolist(), scores.tolist(), strict=True):
        if person >= 0:
            best[person] = max(best.get(person, -2.0), score)
    return sorted(best.items(), key=lambda item: (-item[1], item[0]))[:k]


def assert_same(found: list[tuple[int, float]], expected: list[tuple[int, float]]) -> None:
    """Same scores to 1e-6; same people, but for ties closer than float32 can tell."""
    assert len(found) == len(expected)
    for (person, score), (wanted, exact) in zip(found, expected, strict=True):
        assert abs(score - exact) < 1e-6
        assert person == wanted or abs(score - dict(expected).get(person, -9)) < 1e-6


@pytest.fixture(params=["whole", "in pieces"])
def pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gallery looked at in one go, and in pieces of 64 rows or a few times that, cached 20 rows at a time."""
    if request.param == "in pieces":
        monkeypatch.setattr(match_module, "_PIECE_PRODUCTS", 300)
        monkeypatch.setattr(match_module, "_CACHED_BYTES", 20 * 512)


@cache
def clusters() -> tuple[Rows, NDArray[np.float32]]:
    """400 people with ten references each, a fifth of the rows dead, and 16 probes: half of them of these people."""
    rng = np.random.default_rng(1)
    references = people(rng, 400, 10)
    persons = np.repeat(np.arange(400, dtype=np.int32), 10)
    persons[rng.random(len(persons)) < 0.2] = -1
    rows = rows_of(references, persons)
    genuine = unit(references[rng.integers(0, 4000, 8)] + noise(rng, 8) * np.float32(0.8))
    return rows, np.concatenate([genuine, noise(rng, 8)])


@cache
def answers_of_clusters(k: int) -> list[list[tuple[int, float]]]:
    rows, probes = clusters()
    return [brute_force(rows, probe, k) for probe in probes]


@pytest.mark.usefixtures("pieces")
@pytest.mark.parametrize("probes_at_once", [1, 2, 3, 4, 16])
@pytest.mark.parametrize("k", [1, 2, 5])
def test_same_as_brute_force_on_clusters(probes_at_once: int, k: int) -> None:
    """On people with several references, with dead rows among them, the answer is brute force's."""
    rows, probes = clusters()
    for start in range(0, 16 - probes_at_once + 1, probes_at_once):
        part = slice(start, start + probes_at_once)
        for expected, found in zip(answers_of_clusters(k)[part], match(rows, probes[part], k), strict=True):
            assert_same(found, expected)


@pytest.mark.usefixtures("pieces")
@pytest.mark.parametrize("probes", [1, 3])
def test_near_ties_are_settled_by_the_exact_score(probes: int) -> None:
    """Rows that differ by less than a quantisation step come out in the order of their float32 scores."""
    rng = np.random.default_rng(2)
    base = noise(rng, 1)[0]
    wiggle = noise(rng, 300) * np.float32(2e-4)
    references = unit(base + wiggle)
    rows = rows_of(references, np.arange(300, dtype=np.int32))
    asked = unit(base + noise(rng, probes) * np.float32(0.5))
    for probe, found in zip(asked, match(rows, asked, 3), strict=True):
        assert_same(found, brute_force(rows, probe, 3))


def test_two_answers_are_one() -> None:
    """What two parts of a gallery answer, put together, is what the whole answers, also for a person with rows in both."""
    rng = np.random.default_rng(8)
    references = people(rng, 30, 4)
    persons = np.tile(np.arange(30, dtype=np.int32), 4)
    probes = unit(references[:5] + noise(rng, 5) * np.float32(0.5))
    rows = rows_of(references, persons)
    parts = [rows_of(references[part], persons[part]) for part in (slice(50), slice(50, None))]
    assert merged(match(parts[0], probes, 30), match(parts[1], probes, 30), 30) == match(rows, probes, 30)


def test_dead_rows_never_answer() -> None:
    """A probe equal to a dead row is answered by the living; with nobody alive there is no answer."""
    rng = np.random.default_rng(3)
    references = noise(rng, 20)
    persons = np.arange(20, dtype=np.int32)
    persons[7] = -1
    rows = rows_of(references, persons)
    assert 7 not in [person for person, _ in match(rows, references[7:8], 20)[0]]
    nobody = rows_of(references, np.full(20, -1, np.int32))
    assert match(nobody, references[:1], 2) == [[]]


@pytest.mark.filterwarnings("error")
@pytest.mark.usefixtures("pieces")
@pytest.mark.parametrize("probes", [1, 3])
def test_rows_that_were_wiped_are_passed_over(probes: int) -> None:
    """Nothing but zeros in the midst of a gallery, a whole piece of it and more: no answer, and no warning in a camera's journal."""
    rng = np.random.default_rng(10)
    references = people(rng, 120, 10)
    persons = np.repeat(np.arange(120, dtype=np.int32), 10)
    rows = rows_of(references, persons)
    persons[200:900] = -1
    for section in rows[:4]:
        section[200:900] = 0
    asked = unit(references[[100, 1000, 1199]][:probes] + noise(rng, probes) * np.float32(0.5))
    for probe, found in zip(asked, match(rows, asked, 2), strict=True):
        assert_same(found, brute_force(rows, probe, 2))


def test_margin_is_over_the_second_person_not_the_second_row() -> None:
    """Many references of one person do not crowd the second person out of the top two."""
    rng = np.random.default_rng(4)
    centre = noise(rng, 1)
    own = unit(centre + noise(rng, 50) * np.float32(0.1))
    other = noise(rng, 3)
    rows = rows_of(np.concatenate([own, other]), np.array([0] * 50 + [1, 1, 2], np.int32))
    assert match(rows, centre, 2)[0][0][0] == 0
    assert_same(match(rows, centre, 2)[0], brute_force(rows, centre[0], 2))


def test_an_empty_gallery_and_no_probes() -> None:
    """Nothing enrolled gives an empty list per probe; no probe gives no list."""
    nothing = np.empty(0, np.float32)
    empty = Rows(np.empty((0, 8), np.int8), nothing, nothing, np.empty((0, 8), np.float32), np.empty(0, np.int32))
    assert match(empty, noise(np.random.default_rng(5), 2, 8), 2) == [[], []]
    assert match(empty, np.empty((0, 8), np.float32), 2) == []


def test_a_probe_of_another_dimension_is_refused() -> None:
    """A probe of another model's length is an error, not a wrong answer."""
    rng = np.random.default_rng(6)
    with pytest.raises(ValueError, match="dimension"):
        match(rows_of(noise(rng, 3), np.arange(3, dtype=np.int32)), noise(rng, 1, 128), 2)


def rounded_down(first: int, rest: int) -> NDArray[np.float32]:
    """A vector whose codes lose 0.49 of a step in every place but the first, and always in the same direction."""
    whole = np.where(np.arange(512) < 256, first, rest) + np.float32(0.49)
    whole[0] = 127
    return unit(whole[None].astype(np.float32))


@pytest.mark.parametrize("probes", [1, 2])
@pytest.mark.parametrize("lossy", ["probe", "row"])
def test_what_the_codes_lose_at_worst_costs_no_answer(monkeypatch: pytest.MonkeyPatch, probes: int, lossy: str) -> None:
    """The best row, scanned far too low, is found behind one that scans better, met in an earlier piece of the gallery."""
    monkeypatch.setattr(match_module, "_PIECE_PRODUCTS", 64 * probes)
    ones = unit(np.ones((1, 512), np.float32))
    half = unit((np.arange(512) < 256).astype(np.float32)[None])
    exact_codes = unit(np.where(np.arange(512) == 0, 127, 41).astype(np.float32)[None])
    if lossy == "probe":
        probe, scans_better, best = rounded_down(99, 41), half, ones
    else:
        probe, scans_better, best = ones, exact_codes, rounded_down(41, 41)
    references = np.concatenate([scans_better, noise(np.random.default_rng(9), 127), best])
    rows = rows_of(references, np.arange(129, dtype=np.int32))
    assert probe @ best.T > probe @ scans_better.T
    exact = float(probe[0].astype(np.float64) @ best[0].astype(np.float64))
    for found in match(rows, np.repeat(probe, probes, axis=0), 1):
        assert_same(found, [(128, exact)])


def test_the_error_bound_covers_the_scan() -> None:
    """|exact - scanned| stays within the bound that decides which rows are scored exactly."""
    rng = np.random.default_rng(7)
    references, probes = noise(rng, 500), noise(rng, 20)
    codes, scales, errors = quantise(references)
    probe_codes, probe_scales, probe_errors = quantise(probes)
    scanned = (codes.astype(np.float64) * scales[:, None]) @ (probe_codes.astype(np.float64) * probe_scales[:, None]).T
    exact = references.astype(np.float64) @ probes.astype(np.float64).T
    bound = errors[:, None] + (1 + errors[:, None]) * probe_errors[None]
    assert (np.abs(exact - scanned) <= bound).all()
