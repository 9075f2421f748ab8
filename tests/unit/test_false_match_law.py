"""The law of false matches: from a score to the share of comparisons, and back."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.gallery.tail import Tail, tail_of
from tests.support.vectors import noise, unit
from workers.recognition.false_match_law import FalseMatchLaw, StrangerScores

_LAW = FalseMatchLaw(((0.0, 0.5), (0.2, 0.01), (0.4, 1e-4)))


def test_the_logarithm_of_the_share_is_linear_between_two_points_and_beyond() -> None:
    """At a point its own share, halfway the geometric mean, beyond the last point the last slope, below the first never more than all."""
    assert _LAW.share(0.2) == pytest.approx(0.01)
    assert _LAW.share(0.3) == pytest.approx(1e-3)
    assert _LAW.share(0.6) == pytest.approx(1e-6)
    assert _LAW.share(-0.5) == 1.0


@given(st.floats(-0.03, 1.0))
def test_score_and_share_are_inverse(score: float) -> None:
    """The share that a score has is reached by that score, everywhere."""
    assert _LAW.score(_LAW.share(score)) == pytest.approx(score, abs=1e-9)


@given(st.floats(-1, 1), st.floats(-1, 1), st.integers(1, 10**7))
def test_fewer_strangers_reach_a_higher_score(one: float, other: float, references: int) -> None:
    """And the confidence never falls as the score rises."""
    strangers = StrangerScores(_LAW, Tail(references))
    low, high = sorted((one, other))
    assert strangers.share_reaching(low) >= strangers.share_reaching(high)
    assert 0 <= strangers.confidence(low) <= strangers.confidence(high) <= 1


def test_every_reference_is_a_chance_for_a_false_match() -> None:
    """Where a share of 1e-4 of the comparisons reaches a score, 1 - exp(-R / 10,000) of the strangers do."""
    for references in (1, 100, 10_000, 1_000_000):
        strangers = StrangerScores(_LAW, Tail(references))
        assert strangers.share_reaching(0.4) == pytest.approx(1 - math.exp(-references * 1e-4))
    strangers = StrangerScores(_LAW, Tail(100))
    assert strangers.score_reached_by(strangers.share_reaching(0.4)) == pytest.approx(0.4)


def test_nobody_reaches_anything_in_an_empty_gallery() -> None:
    """No share, full confidence, and no score that would be needed."""
    strangers = StrangerScores(_LAW, Tail())
    assert (strangers.share_reaching(0.1), strangers.confidence(0.1), strangers.score_reached_by(0.01)) == (
        0.0,
        1.0,
        -1.0,
    )


@pytest.mark.parametrize(("people", "each"), [(10, 3), (60, 3), (400, 5)])
def test_the_promise_holds_for_strangers_never_seen(people: int, each: int) -> None:
    """Random faces of 64 dimensions, and a law that is off by .03: of 20,000 strangers the wanted 1 % get through, within a factor of two
    where the gallery knows its own tail."""
    rng = np.random.default_rng(people)
    cosines = np.sort((noise(rng, 2000, 64) @ noise(rng, 2000, 64).T).ravel())
    points = tuple(
        (float(np.quantile(cosines, 1 - share)) + 0.03, share) for share in (0.5, 0.1, 0.01, 1e-3, 1e-4, 1e-5)
    )
    references = noise(rng, people * each, 64)
    strangers = StrangerScores(
        FalseMatchLaw(points), tail_of(references, np.repeat(np.arange(people, dtype=np.int32), each))
    )
    best = (noise(rng, 20_000, 64) @ references.T).max(axis=1)
    named = float((best >= strangers.score_reached_by(0.01)).mean())
    assert named <= 0.02
    assert named >= (0.005 if people > 10 else 0.001)


def test_one_person_under_two_names_hardly_moves_the_threshold() -> None:
    """Two names with eight photos each give 64 very high scores, more than the anchor counts. What they may move is a tenth of the law's
    width; the people's own likeness counts in full."""
    rng = np.random.default_rng(3)
    cosines = (noise(rng, 2000, 64) @ noise(rng, 2000, 64).T).ravel()
    shares = (0.5, 0.1, 0.01, 1e-3, 1e-4, 1e-5, 1e-6)
    law = FalseMatchLaw(tuple((float(np.quantile(cosines, 1 - share)), share) for share in shares))
    plain = noise(rng, 30 * 4, 64)
    twins = unit(noise(rng, 1, 64) + 0.4 * noise(rng, 16, 64))
    persons = np.concatenate([np.repeat(np.arange(30), 4), np.repeat([30, 31], 8)]).astype(np.int32)
    before = StrangerScores(law, tail_of(plain, persons[:120])).shift
    after = StrangerScores(law, tail_of(np.concatenate([plain, twins]), persons)).shift
    width = law.score(1e-6) - law.score(0.5)
    assert before < after < before + 0.12 * width
