"""Positions of readers: their text, and what is news to them."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.errors import UsageError
from workers.hub.positions import MAX_NUMBER, behind, is_origin, news, position_of, position_text, tag_of

_GENEROUS = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # other tests may run meanwhile
ORIGINS = st.text("ABCxyz019_-", min_size=11, max_size=11)
POSITIONS = st.dictionaries(ORIGINS, st.integers(1, MAX_NUMBER), max_size=20)


@_GENEROUS
@given(POSITIONS)
def test_the_text_has_the_whole_position(position: dict[str, int]) -> None:
    """Text and position are made from each other, whatever the order."""
    text = position_text(dict(reversed(position.items())))
    assert position_of(text) == position
    assert text == position_text(position)


@pytest.mark.parametrize(
    "text",
    [
        ",", "AAAAAAAAAAA", "AAAAAAAAAAA:", "AAAAAAAAAAA:x", "AAAAAAAAAAA:-1", "AAAAAAAAAA:1", "AAAAAAAAAAA:1,", "AAAAAAAAAAA:9007199254740992",
        "AAAAAAAAAAA:1,AAAAAAAAAAA:2", " AAAAAAAAAAA:1", "AAAAAAAAAA$:1", "AAAAAAAAAAA:\u0661",
        ",".join(f"{number:011}:1" for number in range(2049)),
    ],
)  # fmt: skip
def test_what_is_no_position_is_refused(text: str) -> None:
    """Also a name that is there twice, and more origins than a request's head holds."""
    with pytest.raises(UsageError):
        position_of(text)


@_GENEROUS
@given(POSITIONS, POSITIONS)
def test_news_are_what_is_above(heads: dict[str, int], position: dict[str, int]) -> None:
    """A reader who takes the news of each origin is nowhere behind, and never goes back."""
    found = news(heads, position)
    assert all(read < head for _, read, head in found)
    after = {**position, **{origin: head for origin, _, head in found}}
    assert all(after[origin] >= head for origin, head in heads.items())
    assert all(after[origin] >= seq for origin, seq in position.items())
    assert news(heads, after) == []


@_GENEROUS
@given(POSITIONS, POSITIONS)
def test_a_tag_stands_for_one_state_of_one_hub(one: dict[str, int], other: dict[str, int]) -> None:
    assert (tag_of(one, "hub") == tag_of(other, "hub")) == (one == other)
    assert tag_of(one, "hub") != tag_of(one, "hub2")


@pytest.mark.parametrize("value", [None, 5, "", "short", "AAAAAAAAAAAA", "AAAAAAAAAA:", "AAAAAAAAAAé"])
def test_what_is_no_origin(value: object) -> None:
    """64 bits as 11 characters of base64url, and nothing else."""
    assert not is_origin(value)
    assert is_origin("aZ0_-aZ0_-a")


def test_a_reader_is_told_of_what_it_read_that_is_not_there_any_more() -> None:
    """But not of its own changes, which it leaves out by the highest number."""
    one, two, own = "A" * 11, "B" * 11, "C" * 11
    assert behind({one: 5, two: 7}, {one: 5, two: 6, own: MAX_NUMBER}) == {}
    assert behind({one: 5}, {one: 6, two: 2, own: MAX_NUMBER}) == {one: 5, two: 0}
