"""Settings that are likely to name strangers: which of them a camera and `check` warn of."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from shared.gallery.tail import Tail
from shared.settings.camera_task import EffectiveCamera
from shared.settings.file import parse_settings
from workers.pipeline.risky_settings import risks_of
from workers.recognition.false_match_law import FalseMatchLaw, StrangerScores
from workers.recognition.working_point import Limits, WorkingPoint

_LAW = FalseMatchLaw(((0.0, 0.5), (0.5, 1e-6)))


def camera(**given: Any) -> EffectiveCamera:
    return replace(parse_settings({"cameras": {"door": {"source": "clip.mp4"}}}, None, {}).camera("door"), **given)


def by_hand(threshold: float, references: int) -> Limits:
    return Limits(WorkingPoint(threshold, 0.05), "set by hand", StrangerScores(_LAW, Tail(references)))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, []),
        ({"threshold": 0.35}, []),
        ({"threshold": 0.34}, ["below the model's own 0.45"]),
        ({"margin": 0.0}, ["margin 0 names"]),
        ({"votes": 1}, ["votes 1 names"]),
        ({"threshold": 0.1, "margin": 0.0, "votes": 1}, ["below the model's own", "margin 0 names", "votes 1 names"]),
    ],
    ids=str,
)
def test_what_is_risky_whatever_the_gallery(given: dict[str, Any], words: list[str]) -> None:
    """A threshold more than .1 below the model's own, no margin, a single vote; the defaults are not."""
    lines = list(risks_of(camera(**given), 0.45, None))
    assert len(lines) == len(words)
    assert all(word in line for word, line in zip(words, lines, strict=True))


def test_a_threshold_that_names_ten_times_too_many_strangers_in_this_gallery() -> None:
    """It is told with both shares, also where they are far below a per cent; in a small gallery the same threshold is none."""
    (line,) = risks_of(camera(threshold=0.5, strangers_named=1e-5), 0.45, by_hand(0.5, 1000))
    assert "threshold 0.5 names an estimated share of 0.001 of strangers, and strangers_named is 1e-05" in line
    assert list(risks_of(camera(threshold=0.5, strangers_named=1e-5), 0.45, by_hand(0.5, 90))) == []
    assert list(risks_of(camera(strangers_named=1e-5), 0.45, by_hand(0.5, 1000))) == [], "it was not set by hand"


def test_limits_that_name_nobody() -> None:
    """A threshold of 1, which no two pictures reach: whether the law asks for it in this gallery or somebody has set it. Below 1 it is none."""
    nobody, nearly = (
        Limits(WorkingPoint(point, 0.05), "strangers_named", by_hand(1, 9).strangers) for point in (1, 0.999)
    )
    (line,) = risks_of(camera(strangers_named=1e-6), 0.45, nobody)
    assert line.startswith(
        "with this gallery, strangers_named 1e-06 takes a threshold of 1, which names nobody: raise strangers_named"
    )
    assert list(risks_of(camera(strangers_named=1e-6), 0.45, nearly)) == []
    (line,) = risks_of(camera(threshold=1.0), 0.45, by_hand(1.0, 9))
    assert line == "threshold 1 names nobody: remove it, and it follows from strangers_named"
