"""Tracks, on boxes and embeddings made for the case; times and pixels as a camera at 5 frames a second gives them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from workers.pipeline.tracking import Box, Observation, Pair, Proposal, Tracker
from workers.recognition.engine import Appearance
from workers.recognizer_arcface import ArcFaceEngine
from workers.recognizer_dlib import DlibEngine

STEP_S = 0.2
SIDE = 100.0


def tracker() -> Tracker:
    return Tracker(ArcFaceEngine.appearance)


def box(x: float, y: float = 200.0, side: float = SIDE) -> Box:
    return (x, y, x + side, y + side)


def person(seed: int) -> NDArray[np.float32]:
    """A face's embedding; two people's are all but orthogonal."""
    return unit(np.random.default_rng(seed).normal(size=512))


def look(who: NDArray[np.float32], seed: int, likeness: float = 0.7) -> NDArray[np.float32]:
    """One crop's embedding of `who`: its cosine with `who` is about `likeness`."""
    noise = unit(np.random.default_rng(seed + 1000).normal(size=512))
    return unit(likeness * who + np.sqrt(1 - likeness**2) * noise)


def unit(vector: NDArray[np.float64] | NDArray[np.float32]) -> NDArray[np.float32]:
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def numbers(pairs: Sequence[Pair]) -> list[int]:
    return [pair.track.number for pair in pairs]


def test_face_that_walks_by_keeps_its_track() -> None:
    """At 5 frames a second a passer-by moves by nearly twice the face's width between two looks."""
    tracks = tracker()
    for i in range(8):
        pairs = tracks.update([Observation(box(100 + 175 * i))], i * STEP_S)
        assert numbers(pairs) == [1]
    assert pairs[0].track.seen == 8


def test_motion_goes_on_while_a_face_is_not_seen() -> None:
    """A passer-by who is hidden for one look is found where the walk leads, 3.5 widths on."""
    tracks = tracker()
    for i in (0, 1, 2, 4):
        assert numbers(tracks.update([Observation(box(100 + 175 * i))], i * STEP_S)) == [1]


def test_two_faces_side_by_side_stay_apart() -> None:
    """Order of the detections does not matter; each keeps its number."""
    tracks = tracker()
    assert numbers(tracks.update([Observation(box(100)), Observation(box(260))], 0.0)) == [1, 2]
    assert numbers(tracks.update([Observation(box(262)), Observation(box(104))], STEP_S)) == [2, 1]


def test_two_people_who_cross_keep_their_own_tracks() -> None:
    """While they meet, what they look like decides; velocity alone would do for a while, place alone would swap them."""
    tracks, ann, bob = tracker(), person(1), person(2)
    for i in range(9):
        left, right = 100 + 60 * i, 580 - 60 * i
        if abs(left - right) < 20:
            left = right  # one box hides the other in the middle: both are detected at one place
        observations = [
            Observation(box(left), look(ann, i), clear=True),
            Observation(box(right, 205.0), look(bob, i), clear=True),
        ]
        assert numbers(tracks.update(observations, i * STEP_S)) == [1, 2]


def test_two_people_who_turn_back_where_they_meet_are_not_swapped() -> None:
    """Velocity says they passed each other; their faces say they did not."""
    tracks, ann, bob = tracker(), person(1), person(2)
    path = [(100, 500), (180, 420), (240, 360), (180, 420), (100, 500)]
    for i, (left, right) in enumerate(path):
        observations = [
            Observation(box(left), look(ann, i), clear=True),
            Observation(box(right), look(bob, i), clear=True),
        ]
        assert numbers(tracks.update(observations, i * STEP_S)) == [1, 2]


def test_two_people_who_look_somewhat_alike_are_not_swapped_either() -> None:
    """Too alike to be told apart by one look each, but each is more like himself."""
    tracks, ann = tracker(), person(1)
    sister = unit(0.6 * ann + 0.8 * person(2))
    path = [(100, 500), (180, 420), (240, 360), (180, 420), (100, 500)]
    for i, (left, right) in enumerate(path):
        looks = look(ann, i, likeness=0.85), look(sister, i + 50, likeness=0.85)
        assert 0.3 < float(looks[0] @ looks[1]) < 0.6
        observations = [Observation(box(x), one, clear=True) for x, one in zip((left, right), looks, strict=True)]
        assert numbers(tracks.update(observations, i * STEP_S)) == [1, 2]


def test_another_face_at_the_same_place_is_another_track() -> None:
    """A cut that nobody noticed, or one person stepping where another stood: the old track does not go on."""
    tracks, ann, bob = tracker(), person(1), person(2)
    for i in range(3):
        tracks.update([Observation(box(100), look(ann, i), clear=True)], i * STEP_S)
    pairs = tracks.update([Observation(box(100), look(bob, 9), clear=True)], 3 * STEP_S)
    assert numbers(pairs) == [2]
    assert [track.seen for track in tracks.tracks] == [3, 1]


def test_turned_head_at_its_place_stays_in_its_track() -> None:
    """From the side a face looks like nobody: where the place leaves no doubt, that is no other person."""
    tracks, ann = tracker(), person(1)
    tracks.update([Observation(box(100), look(ann, 0), clear=True)], 0.0)
    pairs = tracks.update([Observation(box(104), look(ann, 1, likeness=0.05), clear=False)], STEP_S)
    assert numbers(pairs) == [1]


def test_unclear_stranger_where_the_place_is_in_doubt_gets_a_track_of_its_own() -> None:
    """Far from where the face was expected, even a side view that disagrees is somebody else."""
    tracks, ann, bob = tracker(), person(1), person(2)
    tracks.update([Observation(box(100), look(ann, 0), clear=True)], 0.0)
    assert numbers(tracks.update([Observation(box(260), look(bob, 1), clear=False)], STEP_S)) == [2]


def test_clear_views_are_not_forgotten_for_unclear_ones() -> None:
    """After a long time in profile the track still knows the face from the front."""
    tracks, ann, bob = tracker(), person(1), person(2)
    tracks.update([Observation(box(100), look(ann, 0), clear=True)], 0.0)
    for i in range(1, 12):
        tracks.update([Observation(box(100), look(ann, i, likeness=0.1), clear=False)], i * STEP_S)
    assert numbers(tracks.update([Observation(box(100), look(bob, 50), clear=True)], 12 * STEP_S)) == [2]


def test_face_that_is_covered_for_a_moment_keeps_its_track() -> None:
    """Not seen for a second, back 1.6 widths away and looking alike: the same track. After 1.5 s it is over."""
    tracks, ann = tracker(), person(1)
    tracks.update([Observation(box(100), look(ann, 0), clear=True)], 0.0)
    tracks.update([Observation(box(100), look(ann, 1), clear=True)], STEP_S)
    assert not tracks.end_lost(1.2)
    assert numbers(tracks.update([Observation(box(260), look(ann, 2), clear=True)], 1.2)) == [1]
    assert [track.number for track in tracks.end_lost(2.8)] == [1]
    assert numbers(tracks.update([Observation(box(260), look(ann, 3), clear=True)], 2.8)) == [2]


def test_face_of_another_size_is_another_track() -> None:
    """A face in front of the camera is not the one that was behind it."""
    tracks = tracker()
    tracks.update([Observation(box(100, side=60))], 0.0)
    assert numbers(tracks.update([Observation(box(60, 160, side=140))], STEP_S)) == [2]


def test_far_jump_without_an_embedding_is_another_track() -> None:
    """Place alone reaches 2.5 widths, however long the face was gone."""
    tracks = tracker()
    tracks.update([Observation(box(100))], 0.0)
    assert numbers(tracks.update([Observation(box(500))], 1.0)) == [2]


def test_proposal_asks_for_an_embedding_only_in_doubt() -> None:
    """A face that is where it was expected and alone needs none; far off, new, or with company it does."""
    tracks = tracker()
    assert tracks.propose([box(100)], 0.0) == [Proposal(None, doubtful=False)]
    tracks.update([Observation(box(100))], 0.0)
    track = tracks.tracks[0]
    assert tracks.propose([box(110)], STEP_S) == [Proposal(track, doubtful=False)]
    assert tracks.propose([box(260)], STEP_S) == [Proposal(track, doubtful=True)]
    assert [proposal.doubtful for proposal in tracks.propose([box(110), box(170)], STEP_S)] == [True, True]


def test_proposal_tells_that_the_face_looks_otherwise() -> None:
    """A thumbnail is compared with the track's last one; a track without one has not changed."""
    tracks = tracker()
    assert not tracks.propose([box(100)], 0.0, [person(1)])[0].changed
    tracks.update([Observation(box(100), thumbnail=person(1))], 0.0)
    assert not tracks.propose([box(100)], STEP_S, [look(person(1), 5, 0.9)])[0].changed
    assert tracks.propose([box(100)], STEP_S, [look(person(1), 5, 0.5)])[0].changed


def test_track_that_ran_on_over_somebody_else_goes_back_to_where_it_was_sure() -> None:
    """Another face takes the place between two looks; three looks later an embedding tells."""
    ann, bob = person(1), person(2)
    tracks = tracker()
    for step in range(3):
        tracks.update([Observation(box(100), look(ann, step), True, thumbnail=ann)], step * STEP_S)
    (track,) = tracks.tracks
    for step in range(3, 6):
        assert numbers(tracks.update([Observation(box(104), thumbnail=bob)], step * STEP_S)) == [1]
    assert (track.last_s, track.seen) == (5 * STEP_S, 6)
    assert numbers(tracks.update([Observation(box(104), look(bob, 9), True, thumbnail=bob)], 6 * STEP_S)) == [2]
    assert (track.last_s, track.seen, track.box, track.cut_short) == (2 * STEP_S, 3, box(100), True)


def test_track_whose_picture_changed_is_sure_again_once_an_embedding_agrees() -> None:
    """A turned head: what was followed meanwhile counts."""
    ann = person(1)
    tracks = tracker()
    tracks.update([Observation(box(100), look(ann, 1), True, thumbnail=ann)], 0.0)
    tracks.update([Observation(box(100), thumbnail=person(2))], STEP_S)
    (track,) = tracks.tracks
    assert track.sure[1] == 0.0
    tracks.update([Observation(box(100), look(ann, 2), True, thumbnail=person(2))], 2 * STEP_S)
    assert (track.sure[1], track.cut_short) == (2 * STEP_S, False)


def test_a_cut_or_the_end_ends_every_track() -> None:
    """`end_all` hands out all tracks once; numbers are never given twice."""
    tracks = tracker()
    tracks.update([Observation(box(100)), Observation(box(400))], 0.0)
    assert [track.number for track in tracks.end_all()] == [1, 2]
    assert tracks.end_all() == []
    assert numbers(tracks.update([Observation(box(100))], STEP_S)) == [3]


def test_other_model_forgets_what_tracks_looked_like() -> None:
    """Embeddings of two models say nothing about each other: the track goes on by its place."""
    tracks = tracker()
    tracks.update([Observation(box(100), person(1), clear=True)], 0.0)
    tracks.use_appearance(DlibEngine.appearance)
    assert numbers(tracks.update([Observation(box(100), unit(np.ones(128)), clear=True)], STEP_S)) == [1]


# -- cuts -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limits", [ArcFaceEngine.appearance, DlibEngine.appearance])
def test_every_engine_has_its_limits_of_likeness(limits: Appearance) -> None:
    """Cosines of two models are not on one scale."""
    assert limits.different < limits.alike


def test_turned_head_does_not_vouch_for_the_next_face() -> None:
    """An unclear look of somebody else in an undoubtful place is followed, and not remembered: the next one still disagrees."""
    ann, bob = person(1), person(2)
    tracks = tracker()
    for step in range(3):
        tracks.update([Observation(box(100), look(ann, step), True, thumbnail=ann)], step * STEP_S)
    (track,) = tracks.tracks
    assert numbers(tracks.update([Observation(box(100), look(bob, 7), False, thumbnail=bob)], 3 * STEP_S)) == [1]
    assert numbers(tracks.update([Observation(box(100), look(bob, 8), True, thumbnail=bob)], 4 * STEP_S)) == [2]
    assert (track.last_s, track.cut_short) == (2 * STEP_S, True)


def test_time_in_which_nobody_looked_is_no_absence() -> None:
    """The engine was away for four seconds: who is still there afterwards is the same track, and who is not ends as always."""
    tracks = tracker()
    tracks.update([Observation((0, 0, 50, 50)), Observation((300, 0, 350, 50))], 0.0)
    tracks.forgive(4.0)
    assert tracks.end_lost(4.2) == []
    (pair,) = tracks.update([Observation((0, 0, 50, 50))], 4.2)
    assert pair.track.number == 1
    assert [track.number for track in tracks.end_lost(5.6)] == [2]
    assert [track.number for track in tracks.end_lost(6.0)] == [1], "seen again: what was forgiven is used up"
