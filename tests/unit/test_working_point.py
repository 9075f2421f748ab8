"""The working point: whom an embedding names, at, above and below the threshold and the margin."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.gallery.match import Candidate
from workers.recognition.engine import Engine
from workers.recognition.working_point import WorkingPoint, lead, working_point

_POINT = WorkingPoint(threshold=0.5, margin=0.125)  # exact in binary, and so are sums with them


def people(*scores: float) -> list[Candidate]:
    """p0, p1, …, with these scores."""
    return [Candidate(f"p{place}", None, score) for place, score in enumerate(scores)]


@pytest.mark.parametrize(
    ("scores", "person", "enough"),
    [
        ((), None, False),
        ((0.5,), "p0", True),
        ((0.49999,), None, False),
        ((1.0,), "p0", True),
        ((-1.0,), None, False),
        ((0.75, 0.625), "p0", True),
        ((0.75, 0.62501), None, True),
        ((0.75, 0.75), None, True),
        ((0.75, -0.25), "p0", True),
        ((0.75, 0.25, 0.25), "p0", True),
        ((0.4375, 0.0), None, False),
    ],
    ids=str,
)
def test_who_is_named(scores: tuple[float, ...], person: str | None, enough: bool) -> None:
    """The threshold and the margin themselves are enough; without a second person there is no margin to keep."""
    assert _POINT.names(people(*scores)) == person
    assert _POINT.is_enough(people(*scores)) == enough


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


@pytest.mark.parametrize("threshold", [None, 0.0, 0.7])
@pytest.mark.parametrize("margin", [None, 0.0, 0.2])
def test_what_settings_leave_open_the_model_says(threshold: float | None, margin: float | None) -> None:
    """Each by itself; a setting of 0 is one."""
    engine = cast(Engine, SimpleNamespace(threshold=0.42, margin=0.06))
    expected = WorkingPoint(0.42 if threshold is None else threshold, 0.06 if margin is None else margin)
    assert working_point(engine, threshold, margin) == expected
