"""The working point: whom an embedding names, at, above and below the threshold and the margin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from shared.gallery.match import Candidate
from shared.gallery.tail import Tail, tail_of
from shared.settings.schema import LEAST_STRANGERS_NAMED, MOST_STRANGERS_NAMED, RecognitionSettings
from tests.support.vectors import people as people_vectors
from workers.recognition.false_match_law import FalseMatchLaw
from workers.recognition.working_point import WorkingPoint, lead, limits
from workers.recognizer_arcface import LAW

_POINT = WorkingPoint(threshold=0.5, margin=0.125)  # exact in binary, and so are sums with them


def people(*scores: float) -> list[Candidate]:
    """p0, p1, …, with these scores."""
    return [Candidate(f"p{place}", None, score) for place, score in enumerate(scores)]


@pytest.mark.parametrize(
    ("scores", "person", "near"),
    [
        ((), None, False),
        ((0.5,), "p0", True),
        ((0.49999,), None, True),
        ((0.375,), None, True),
        ((0.37499,), None, False),
        ((1.0,), "p0", True),
        ((-1.0,), None, False),
        ((0.75, 0.625), "p0", True),
        ((0.75, 0.62501), None, True),
        ((0.75, 0.75), None, True),
        ((0.75, -0.25), "p0", True),
        ((0.75, 0.25, 0.25), "p0", True),
        ((0.4375, 0.0), None, True),
    ],
    ids=str,
)
def test_who_is_named(scores: tuple[float, ...], person: str | None, near: bool) -> None:
    """The threshold and the margin themselves are enough; without a second person there is no margin to keep. A miss by no more than a
    margin is near."""
    assert _POINT.names(people(*scores)) == person
    assert _POINT.is_near(people(*scores)) == near


def test_a_margin_of_nothing_names_the_first_of_two_alike() -> None:
    """A tie is no lead, and none is asked for."""
    assert WorkingPoint(0.5, 0.0).names(people(0.75, 0.75)) == "p0"


@pytest.mark.parametrize(
    ("scores", "ahead"),
    [((), None), ((0.75,), None), ((0.75, 0.5), 0.25), ((0.75, 0.75), 0.0), ((0.75, -0.25, -0.5), 1.0)],
    ids=str,
)
def test_how_far_the_best_person_is_ahead(scores: tuple[float, ...], ahead: float | None) -> None:
    """Of the second one, whoever follows; None where there is no second."""
    assert lead(people(*scores)) == ahead


def rivalled(*given: tuple[float, float | None]) -> list[Candidate]:
    """p0, p1, …, with these scores, and the rivals that compete with them."""
    return [Candidate(f"p{place}", None, score, rival) for place, (score, rival) in enumerate(given)]


@pytest.mark.parametrize(
    ("candidates", "standing", "person", "ahead"),
    [
        (((0.75, None), (0.25, None)), "p0 p1", "p0", 0.5),
        (((0.75, 0.5), (0.25, None)), "p0 p1", "p0", 0.25),
        (((0.75, 0.625),), "p0", "p0", 0.125),
        (((0.75, 0.6875),), "p0", None, 0.0625),
        (((0.75, 0.8125), (0.25, None)), "p0 p1", None, -0.0625),
        (((0.75, 0.875), (0.5, None), (0.25, None)), "p1 p2", "p1", 0.25),
        (((0.75, 0.875), (0.625, None), (0.5625, None)), "p1 p2", None, 0.0625),
        (((0.75, 0.9375), (0.25, 0.9375)), "", None, None),
        (((0.75, 0.8125), (0.25, 0.8125)), "p0", None, -0.0625),
    ],
    ids=str,
)
def test_a_face_that_is_known_not_to_be_theirs(
    candidates: tuple[tuple[float, float | None], ...], standing: str, person: str | None, ahead: float | None
) -> None:
    """A rival counts like a second person. One that leads by the margin takes the person out, and the next one is the best."""
    left = _POINT.standing(rivalled(*candidates))
    assert " ".join(one.person for one in left) == standing
    assert _POINT.names(left) == person
    assert lead(left) == ahead


@given(
    st.lists(st.floats(-1, 1), max_size=4).map(lambda scores: sorted(scores, reverse=True)),
    st.floats(-1, 1),
    st.floats(0, 1),
    st.floats(0, 0.5),
    st.floats(0, 0.5),
)
def test_a_stricter_point_names_nobody_more(
    scores: list[float], threshold: float, margin: float, higher: float, wider: float
) -> None:
    """Whom it names is the best candidate, whom a laxer point names too."""
    strict = WorkingPoint(threshold + higher, margin + wider).names(people(*scores))
    assert strict in (None, "p0")
    assert strict is None or WorkingPoint(threshold, margin).names(people(*scores)) == strict


@dataclass(frozen=True)
class Model:
    threshold: float
    margin: float
    law: FalseMatchLaw


# A decade of comparisons every .05; the default threshold is reached by one in 100,000.
_MODEL = Model(0.45, 0.05, FalseMatchLaw(((0.0, 0.5), (0.1, 0.1), (0.25, 1e-3), (0.45, 1e-5), (0.5, 1e-6))))


@pytest.mark.parametrize("threshold", [None, 0.0, 0.7])
@pytest.mark.parametrize("margin", [None, 0.0, 0.2])
def test_what_is_set_by_hand_wins(threshold: float | None, margin: float | None) -> None:
    """Each by itself; a setting of 0 is one. Without a threshold it follows from the share of strangers, the margin is the model's."""
    found = limits(_MODEL, Tail(100), 0.001, threshold, margin)
    assert found.point.margin == (0.05 if margin is None else margin)
    assert found.point.threshold == pytest.approx(0.45 if threshold is None else threshold, abs=1e-3)
    assert found.reason == ("strangers_named" if threshold is None else "set by hand")


@pytest.mark.parametrize("wanted", [0.0001, 0.001, 0.01])
@pytest.mark.parametrize("references", [30, 300, 30_000, 3_000_000])
def test_the_threshold_lets_through_the_wanted_share_of_strangers(wanted: float, references: int) -> None:
    """Whatever the size of the gallery: by the law, that share reaches it, or less where the model's lowest is in force."""
    found = limits(_MODEL, Tail(references), wanted)
    reached = found.strangers.share_reaching(found.point.threshold)
    if found.reason == "strangers_named":
        assert reached == pytest.approx(wanted, rel=1e-6)
    else:
        assert reached < wanted
        assert found.point.threshold == pytest.approx(0.35)


@pytest.mark.parametrize("law", [_MODEL.law, LAW], ids=["test", "arcface"])
def test_the_lowest_risk_that_can_be_set_has_a_threshold_in_the_largest_gallery(law: FalseMatchLaw) -> None:
    """Ten million references: the threshold is still below 1, so that somebody can be named; a smaller share is refused by the settings."""
    model = Model(0.45, 0.05, law)
    lowest, most = (
        limits(model, Tail(10**7), share).point.threshold for share in (LEAST_STRANGERS_NAMED, MOST_STRANGERS_NAMED)
    )
    assert 0.45 < most < lowest < 1.0
    with pytest.raises(ValidationError):
        RecognitionSettings(strangers_named=LEAST_STRANGERS_NAMED / 2)


def test_few_people_take_the_lowest_threshold_of_the_model() -> None:
    """Two margins below its default; also for a gallery without anybody."""
    for references in (0, 1, 5):
        found = limits(_MODEL, Tail(references), 0.01)
        assert (found.point.margin, found.reason) == (0.05, "lowest for the model")
        assert found.point.threshold == pytest.approx(0.35)


def test_a_gallery_whose_people_look_alike_raises_its_own_threshold() -> None:
    """Its anchor lies .1 above the law: a thousand people move the threshold by nearly as much, ten by half, nobody by nothing."""
    plain = limits(_MODEL, Tail(1000), 0.001).point.threshold
    by_people = {}
    for people_seen in (0, 10, 1000):
        tail = Tail(1000, people_seen, 500_000, _MODEL.law.score(3e-4) + 0.1, _MODEL.law.score(3e-3) + 0.1)
        by_people[people_seen] = limits(_MODEL, tail, 0.001).point.threshold - plain
    assert by_people == {0: pytest.approx(0.0), 10: pytest.approx(0.05), 1000: pytest.approx(0.1 * 1000 / 1010)}


def test_the_limits_move_without_a_jump_while_a_gallery_grows() -> None:
    """One person after the other, up to 300: no enrolment moves the threshold by more than .02, and from 50 on by more than .01."""
    rng = np.random.default_rng(5)
    vectors = people_vectors(rng, 300, 2, 128)
    persons = np.repeat(np.arange(300, dtype=np.int32), 2)
    law = FalseMatchLaw(
        ((0.0, 0.5), (0.114, 0.1), (0.205, 1e-2), (0.27, 1e-3), (0.322, 1e-4), (0.37, 1e-5), (0.41, 1e-6))
    )
    model = Model(0.4, 0.04, law)
    found = [
        limits(model, tail_of(vectors[: 2 * count], persons[: 2 * count]), 0.001).point.threshold
        for count in range(1, 301)
    ]
    steps = np.abs(np.diff(found))
    assert steps.max() < 0.02
    assert steps[50:].max() < 0.01
    assert found[-1] > found[30] > found[3]
