"""Who is where: pure logic, fed with events in order."""

from __future__ import annotations

import pytest

from shared.events import Event
from shared.presence import Presence


def at(second: int) -> str:
    return f"2026-01-31T08:{second // 60:02d}:{second % 60:02d}.000Z"


def happens(kind: str, camera: str, track: int | None = 1, person: str | None = "Ada", second: int = 0) -> Event:
    return Event(event=kind, camera=camera, track=track, person=person, time=at(second))


def test_a_person_named_on_two_cameras_is_in_both() -> None:
    """The second `named` says where else; the third says both; somebody else's track is not among them."""
    presence = Presence()
    assert presence.take(happens("named", "door")) == []
    assert presence.take(happens("named", "door", 2, "Bo")) == []
    assert presence.take(happens("named", "yard", 7, second=5)) == [{"camera": "door", "track": 1}]
    both = [{"camera": "door", "track": 1}, {"camera": "yard", "track": 7}]
    assert presence.take(happens("named", "door", 3, second=9)) == both


def test_the_same_track_again_is_one_place() -> None:
    """A track that is named again, or whose event is sent again, is not a second place; with another name it is that one's."""
    presence = Presence()
    presence.take(happens("named", "door"))
    assert presence.take(happens("named", "door")) == []
    assert presence.take(happens("named", "door", person="Bo", second=2)) == []
    assert presence.take(happens("named", "yard", person="Ada", second=3)) == []
    assert presence.take(happens("named", "yard", 2, person="Bo", second=3)) == [{"camera": "door", "track": 1}]


@pytest.mark.parametrize("kind", ["left", "withdrawn", "camera_down", "camera_up"])
def test_what_ends_a_presence(kind: str) -> None:
    """The track has left or lost its name, or its camera went down or starts anew."""
    presence = Presence()
    presence.take(happens("named", "door"))
    whole_camera = kind.startswith("camera")
    presence.take(happens(kind, "door", None if whole_camera else 1, None if whole_camera else "Ada", 1))
    assert presence.take(happens("named", "yard", second=2)) == []


def test_another_tracks_end_ends_nothing() -> None:
    """Another track of that camera, or that track number of another camera."""
    presence = Presence()
    presence.take(happens("named", "door"))
    for end in (happens("left", "door", 2), happens("left", "yard", 1), happens("camera_down", "yard", None, None)):
        presence.take(end)
    assert presence.take(happens("named", "yard", second=2)) == [{"camera": "door", "track": 1}]


def test_a_presence_without_news_ends() -> None:
    """Its `left` was lost with its camera: after `within_s` it does not count, up to then it does."""
    presence = Presence(within_s=60)
    presence.take(happens("named", "door"))
    assert presence.take(happens("named", "yard", second=60)) == [{"camera": "door", "track": 1}]
    presence.take(happens("left", "yard"))
    assert presence.take(happens("named", "yard", 2, second=61)) == []


def test_memory_is_bounded() -> None:
    """Beyond `most` tracks the one named longest ago is let go of."""
    presence = Presence(most=3)
    for track in range(4):
        presence.take(happens("named", "door", track, f"p{track}"))
    assert presence.take(happens("named", "yard", 1, "p0")) == []
    assert presence.take(happens("named", "yard", 2, "p3")) == [{"camera": "door", "track": 3}]


def test_unknown_and_other_events_change_nothing() -> None:
    """Events of nobody, and kinds that are not known here."""
    presence = Presence()
    presence.take(happens("named", "door"))
    for kind in ("unknown", "seen_again"):
        assert presence.take(happens(kind, "door", 1, None)) == []
    assert presence.take(happens("named", "yard", second=2)) == [{"camera": "door", "track": 1}]
