"""Who is where now, according to the events of all cameras. It finds people who are in two places at once.

Such a person means one of three things: one of the two names is wrong, or somebody holds up a photo, or two cameras see one place.

A presence begins with `named`. It ends with the track's `left` or `withdrawn`; or when its camera restarts or loses its source, because
track numbers then begin anew; or after a while without an event, because a `left` can be lost with a camera that was killed.
"""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime

from shared.events import Elsewhere, Event

WITHIN_S = 600.0
MAX_TRACKS = 1000

_ENDS_TRACK = frozenset({"left", "withdrawn"})
_ENDS_CAMERA = frozenset({"camera_up", "camera_down"})

Place = tuple[str, int]


class Presence:
    """Takes events in order. `within_s`: for how many seconds a `named` holds without a further event; `most`: tracks remembered."""

    def __init__(self, within_s: float = WITHIN_S, most: int = MAX_TRACKS) -> None:
        self._within_s, self._most = within_s, most
        self._here: OrderedDict[Place, tuple[str, float]] = OrderedDict()

    def take(self, event: Event) -> list[Elsewhere]:
        """Process an event. For a `named`, returns where else the person is, as `{"camera", "track"}`, the latest last; else nothing.

        Taking the same event again changes nothing.
        """
        if event.event in _ENDS_CAMERA:
            for place in [place for place in self._here if place[0] == event.camera]:
                del self._here[place]
            return []
        if event.track is None:
            return []
        here = (event.camera, event.track)
        if event.event in _ENDS_TRACK:
            self._here.pop(here, None)
            return []
        if event.event != "named" or event.person is None:
            return []
        person, at_s = event.person, datetime.fromisoformat(event.time).timestamp()
        also = [
            Elsewhere(camera=place[0], track=place[1])
            for place, (other, since_s) in self._here.items()
            if other == person and place != here and abs(at_s - since_s) <= self._within_s
        ]
        self._here.pop(here, None)
        self._here[here] = person, at_s
        while len(self._here) > self._most:
            self._here.popitem(last=False)
        return also
