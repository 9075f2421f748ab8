"""A visit's own rules, with a fake clock."""

from __future__ import annotations

import numpy as np

from shared.gallery.match import Candidate
from workers.pipeline.track_state import TrackState
from workers.pipeline.tracking import Track
from workers.pipeline.voting import Ballot, Crop, Rules

RULES = Rules(threshold=0.45, margin=0.05, votes=3)


def visit_of(*scores: float, liveness: str = "off") -> TrackState:
    ballot = Ballot(RULES, 0.0)
    for score in scores:
        ballot.add(Crop(1.0, np.zeros(4, np.float32), [Candidate("ann", None, score)]))
    return TrackState(Track(1, (0.0, 0.0, 9.0, 9.0), 0.0, 0.0), ballot, 100.0, liveness)  # type: ignore[arg-type]  # one of three words


def test_undecided_while_new_or_on_the_edge() -> None:
    """A named one is settled; a stranger is after three seconds; one near a name is looked at as long as that lasts."""
    assert not visit_of(0.6, 0.6, 0.6).is_undecided(0.5, RULES)
    assert visit_of(0.1).is_undecided(2.9, RULES)
    assert not visit_of(0.1).is_undecided(3.1, RULES)
    assert visit_of(0.4, 0.1).is_undecided(60.0, RULES)


def test_name_waits_for_life() -> None:
    """Under `require`: uncertain until the face is live, named then, uncertain again as a spoof."""
    visit = visit_of(0.6, 0.6, 0.6, liveness="require")
    assert visit.is_undecided(9.0, RULES)
    assert (visit.decision().verdict, visit.news(1.0)) == ("uncertain", [])
    for _ in range(3):
        visit.live.add(0.9)
    assert [news.report for news in visit.news(2.0)] == ["named"]
    for _ in range(9):
        visit.live.add(0.1)
    assert [news.report for news in visit.news(3.0)] == ["withdrawn"]
    assert visit.decision().person is None


def test_crop_that_is_not_likely_alive_has_no_vote_under_require() -> None:
    """Also one too near the frame's edge to tell; elsewhere every crop votes."""
    live = visit_of().live
    assert [live.is_worthless("require", score) for score in (None, 0.4, 0.6)] == [True, True, False]
    assert not any(live.is_worthless(mode, None) for mode in ("off", "observe"))


def followed(visit: TrackState, seconds: float, sure_s: float) -> TrackState:
    """In view since 0, surely until `sure_s`, then only followed until `seconds`."""
    track = visit.track
    track.last_s, track.sure, track.seen = sure_s, ((0.0, 0.0, 9.0, 9.0), sure_s, 5), 5
    visit.see(100.0 + sure_s, None)
    track.last_s, track.seen = seconds, 40
    visit.see(100.0 + seconds, None)
    visit.end()
    return visit


def test_what_was_only_followed_for_long_is_nobodys() -> None:
    """A face that turned away for a moment stayed; after more than five seconds without a sign it may be anybody."""
    short, long = followed(visit_of(), 6.0, 2.0), followed(visit_of(), 30.0, 2.0)
    assert (short.ended_at, short.track.last_s) == (106.0, 6.0)
    assert (long.ended_at, long.track.last_s, long.track.seen) == (102.0, 2.0, 5)
