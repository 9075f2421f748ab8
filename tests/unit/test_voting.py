"""Votes over a track, as pure functions of scores, qualities and times."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.gallery.match import Candidate
from workers.pipeline.voting import Ballot, Crop, Decision, Rules, decide

RULES = Rules(threshold=0.45, margin=0.05, votes=3)
NOTHING = np.zeros(4, np.float32)


def crop(*scores: tuple[str, float], quality: float = 1.0, clear: bool = True) -> Crop:
    """A crop and what it matched, best first."""
    return Crop(quality, NOTHING, [Candidate(name, f"id-{name}", score) for name, score in scores], clear)


def ballot(*crops: Crop, started_s: float = 0.0) -> Ballot:
    votes = Ballot(RULES, started_s)
    for one in crops:
        votes.add(replace(one))  # each crop of a track is one of its own
    return votes


def turned() -> Crop:
    """A head turned away: it looks like nobody, and says nothing."""
    return crop(("ann", 0.2), clear=False)


ANN = crop(("ann", 0.6), ("bob", 0.1))
BOB = crop(("bob", 0.6), ("ann", 0.1))
STRANGER = crop(("ann", 0.2), ("bob", 0.15))


def test_name_needs_as_many_crops_as_votes() -> None:
    """Two good crops are a hint, three a name."""
    assert decide([ANN] * 2, RULES).verdict == "uncertain"
    assert decide([ANN] * 3, RULES) == Decision("named", "ann", "id-ann", 0.6, 0.5, 0.6)


def test_name_needs_the_threshold() -> None:
    """A score at the threshold names, one below it does not, however often."""
    assert decide([crop(("ann", 0.45))] * 3, RULES).verdict == "named"
    assert decide([crop(("ann", 0.449))] * 20, RULES).verdict == "uncertain"


def test_name_needs_the_margin_over_the_second_person() -> None:
    """Two people who look alike make a score uncertain; a gallery of one has no margin to keep."""
    assert decide([crop(("ann", 0.6), ("bob", 0.58))] * 5, RULES).verdict == "uncertain"
    assert decide([crop(("ann", 0.6))] * 3, RULES) == Decision("named", "ann", "id-ann", 0.6, None, 0.6)


def test_stranger_is_unknown_when_nothing_comes_near() -> None:
    """Enough good crops, none within a margin of the threshold; also in an empty gallery."""
    decision = decide([STRANGER] * 3, RULES)
    assert (decision.verdict, decision.person, decision.score) == ("unknown", None, 0.2)
    assert decision.margin == pytest.approx(0.05)
    assert decide([crop()] * 3, RULES) == Decision("unknown")


def test_near_miss_is_uncertain() -> None:
    """Who comes within a margin of being named is not called a stranger."""
    assert decide([STRANGER, STRANGER, crop(("ann", 0.41))], RULES).verdict == "uncertain"
    assert decide([STRANGER, STRANGER, crop(("ann", 0.39))], RULES).verdict == "unknown"


def test_crops_that_contradict_each_other_are_uncertain() -> None:
    """Three for one and three for another name nobody; the better two to one in quality do."""
    assert decide([ANN] * 3 + [BOB] * 3, RULES).verdict == "uncertain"
    weak = crop(("bob", 0.6), quality=0.4)
    assert decide([ANN] * 3 + [weak] * 3, RULES).person == "ann"


def test_a_few_lucky_crops_among_many_do_not_name() -> None:
    """The named person's crops must be a fair share of all, and clear crops of somebody else count double."""
    assert decide([ANN] * 3 + [turned()] * 8, RULES).verdict == "named"
    assert decide([ANN] * 3 + [turned()] * 12, RULES).verdict == "uncertain"
    assert decide([ANN] * 3 + [STRANGER] * 5, RULES).verdict == "named"
    assert decide([ANN] * 3 + [STRANGER] * 6, RULES).verdict == "uncertain"


def test_track_without_a_good_crop_is_uncertain() -> None:
    """Nothing was seen that could tell a stranger from a friend."""
    assert decide([], RULES) == Decision("uncertain")
    assert Ballot(RULES, 0.0).decision().verdict == "uncertain"


def test_turned_heads_alone_make_nobody_a_stranger() -> None:
    """A side view is unlike everybody: only clear crops make an unknown. They may name, though."""
    assert decide([crop(("ann", 0.2), clear=False)] * 9, RULES).verdict == "uncertain"
    assert decide([crop(("ann", 0.6), clear=False)] * 3, RULES).verdict == "named"


def test_short_track_is_never_named() -> None:
    """Fewer crops than votes: uncertain when one of them named somebody, unknown when none did."""
    assert ballot(ANN, ANN).decision().verdict == "uncertain"
    assert ballot(STRANGER).decision().verdict == "unknown"


NEAR_ANN = crop(("ann", 0.43), ("bob", 0.2))  # a near miss by itself
MEAN = crop(("ann", 0.5), ("bob", 0.2))


def with_mean(*crops: Crop, mean: Crop = MEAN) -> Ballot:
    """A ballot whose crops' mean matches what `mean` does."""
    votes = ballot(*[replace(one, embedding=np.eye(4, dtype=np.float32)[0]) for one in crops])
    embedding = votes.mean_probe()
    assert embedding is not None
    votes.take_mean(embedding, mean.candidates)
    return votes


def test_crops_that_are_near_misses_name_together() -> None:
    """Their mean reaches the threshold: a name, with the mean's score, margin, and the score that it was decided on. Without the mean none."""
    assert decide([NEAR_ANN] * 3, RULES).verdict == "uncertain"
    votes = with_mean(*[NEAR_ANN] * 3)
    assert votes.decision() == Decision("named", "ann", "id-ann", 0.5, 0.5 - 0.2, 0.5, by_mean=True)
    assert told(votes, 0.6) == [("named", "ann")]


def test_the_mean_needs_threshold_and_margin_as_a_crop_does() -> None:
    """A mean that lies below, or that is as like a second person, names nobody. A mean that comes near makes nobody unknown."""
    assert with_mean(*[NEAR_ANN] * 3, mean=crop(("ann", 0.449))).decision().verdict == "uncertain"
    assert with_mean(*[NEAR_ANN] * 3, mean=crop(("ann", 0.6), ("bob", 0.58))).decision().verdict == "uncertain"
    assert with_mean(*[STRANGER] * 3, mean=crop(("ann", 0.41))).decision().verdict == "uncertain"
    assert with_mean(*[STRANGER] * 3, mean=crop(("ann", 0.39))).decision().verdict == "unknown"


def test_the_mean_is_asked_for_once_there_are_enough_crops_and_while_there_is_no_name() -> None:
    """With as many crops as votes, but at least two: of one crop it says nothing new."""
    assert ballot(NEAR_ANN, NEAR_ANN).mean_probe() is None
    some = replace(NEAR_ANN, embedding=np.eye(4, dtype=np.float32)[0])
    assert ballot(some, some, some).mean_probe() is not None
    assert ballot(ANN, ANN, ANN).mean_probe() is None
    alone = Ballot(replace(RULES, votes=1), 0.0)
    alone.add(some)
    assert alone.mean_probe() is None


def test_the_mean_is_weighted_by_quality_and_of_all_crops_since_the_track_began() -> None:
    """More crops than vote count in it, and a good one counts more. Its norm is 1."""
    x, y = np.eye(2, 4, dtype=np.float32)
    votes = ballot(replace(STRANGER, embedding=x, quality=0.9), *[replace(STRANGER, embedding=y, quality=0.1)] * 20)
    assert len(votes.recent) < 21
    mean = votes.mean_probe()
    assert mean is not None
    assert mean == pytest.approx(np.array([0.9, 2.0, 0, 0]) / np.hypot(0.9, 2.0))


def test_the_mean_names_nobody_whom_few_crops_are_like() -> None:
    """At least half of the crops, by quality, must be most like the person, and clear ones of others must not outweigh them."""
    other = crop(("bob", 0.3), ("ann", 0.25), clear=False)
    assert with_mean(*[NEAR_ANN] * 3, *[other] * 3).decision().person == "ann"
    assert with_mean(*[NEAR_ANN] * 3, *[other] * 4).decision().verdict == "uncertain"
    clear = replace(other, clear=True)
    far = crop(("ann", 0.1), ("bob", 0.05))  # most like her, but clear and far below: it speaks against her
    assert with_mean(*[NEAR_ANN] * 2, *[clear] * 2).decision().person == "ann"
    assert with_mean(*[NEAR_ANN] * 2, far).decision().person == "ann"
    assert with_mean(NEAR_ANN, far, far).decision().verdict == "uncertain"
    assert with_mean(*[far] * 3).decision().verdict == "uncertain"


def test_a_name_by_the_mean_goes_when_clear_crops_show_somebody_else() -> None:
    """As any name does. The mean begins anew then, since it is of two people."""
    votes = with_mean(*[NEAR_ANN] * 3)
    told(votes, 0.6)
    for _ in range(5):
        votes.add(replace(STRANGER, candidates=[Candidate("bob", None, 0.3)]))
        assert votes.named is not None
    votes.add(replace(STRANGER, candidates=[Candidate("bob", None, 0.3)]))
    assert votes.named is None
    assert (votes.mean, votes.mean_probe()) == (None, None)
    assert told(votes, 2.0)[0] == ("withdrawn", "ann")


def test_a_name_by_the_mean_follows_the_gallery() -> None:
    """Matched again with the crops, the mean keeps the name, or loses it."""
    votes = with_mean(*[NEAR_ANN] * 3)
    told(votes, 0.6)
    assert [one.embedding.tolist() for one in votes.matched()] == [[1, 0, 0, 0]] * 4
    votes.rematch([NEAR_ANN.candidates] * 3 + [crop(("ann", 0.47), ("bob", 0.2)).candidates], RULES)
    assert (votes.decision().person, votes.decision().score) == ("ann", 0.47)
    votes.rematch([NEAR_ANN.candidates] * 4, RULES)
    assert told(votes, 0.8) == [("withdrawn", "ann")]
    votes.rematch([NEAR_ANN.candidates] * 3 + [MEAN.candidates], RULES)
    assert told(votes, 1.0) == [("named", "ann")]


def test_a_face_that_was_judged_wrong_is_withheld_from_the_mean() -> None:
    """The rival beats the mean as it beats a crop."""
    votes = with_mean(*[NEAR_ANN] * 3)
    told(votes, 0.6)
    votes.rematch([beaten(("ann", 0.43))] * 3 + [beaten(("ann", 0.5))], RULES)
    assert votes.named is None


def test_the_face_that_decided_has_the_means_embedding() -> None:
    """What a person judges later is the embedding that gave the name, with the best of the pictures."""
    best = replace(NEAR_ANN, candidates=[Candidate("ann", None, 0.44)], picture=b"best")
    votes = with_mean(NEAR_ANN, best, NEAR_ANN)
    decided = votes.deciding_crop(votes.decision())
    assert decided is not None
    assert (decided.picture, decided.score) == (b"best", 0.5)
    assert votes.mean is not None
    assert decided.embedding is votes.mean.embedding


def test_a_better_crop_takes_the_name_over_from_the_mean() -> None:
    """Then the name is the crops', with their score."""
    votes = with_mean(*[NEAR_ANN] * 3)
    for _ in range(3):
        votes.add(replace(ANN))
    assert (votes.decision().score, votes.decision().by_mean) == (0.6, False)


def told(votes: Ballot, time_s: float, *, withheld: bool = False) -> list[tuple[str, str | None]]:
    return [(news.report, news.decision.person) for news in votes.news(time_s, withheld=withheld)]


def test_name_is_news_once() -> None:
    """Reported when it is reached, not again while it stands."""
    votes = ballot(ANN, ANN)
    assert told(votes, 0.4) == []
    votes.add(ANN)
    assert told(votes, 0.6) == [("named", "ann")]
    votes.add(ANN)
    assert told(votes, 0.8) == []


def test_unknown_is_news_once_and_not_before_there_was_time() -> None:
    """Three crops within half a second are too early; after a second the stranger is reported, once."""
    votes = ballot(STRANGER, STRANGER, STRANGER)
    assert told(votes, 0.5) == []
    assert told(votes, 1.0) == [("unknown", None)]
    votes.add(STRANGER)
    assert told(votes, 2.0) == []


def test_unknown_waits_for_clear_crops() -> None:
    """Two clear crops among turned heads are not enough for three votes."""
    turned = crop(("ann", 0.2), clear=False)
    votes = ballot(STRANGER, STRANGER, turned, turned)
    assert told(votes, 5.0) == []
    votes.add(STRANGER)
    assert told(votes, 5.2) == [("unknown", None)]


def test_unknown_can_become_named() -> None:
    """Better crops come: the name is reported after all."""
    votes = ballot(*[STRANGER] * 3)
    assert told(votes, 1.0) == [("unknown", None)]
    for _ in range(3):
        votes.add(ANN)
    assert told(votes, 2.0) == [("named", "ann")]


def test_name_stays_when_the_person_turns_away() -> None:
    """Later crops that match nobody do not take a name back."""
    votes = ballot(*[ANN] * 3, *[crop(("ann", 0.2), clear=False)] * 30)
    assert votes.decision().person == "ann"


def test_name_is_corrected_when_better_crops_name_another() -> None:
    """The new person must outweigh the old one; then it is news again."""
    weak_bob = crop(("bob", 0.7), quality=0.2)
    votes = ballot(*[weak_bob] * 3)
    assert told(votes, 0.5) == [("named", "bob")]
    for _ in range(3):
        votes.add(ANN)
    assert told(votes, 2.0) == [("named", "ann")]


def test_name_is_withdrawn_when_clear_crops_show_somebody_else() -> None:
    """Five clear crops of a stranger are not yet twice as much as the three that gave the name; six are."""
    votes = ballot(*[ANN] * 3)
    assert told(votes, 0.5) == [("named", "ann")]
    for _ in range(5):
        votes.add(replace(STRANGER))
    assert told(votes, 2.0) == []
    votes.add(replace(STRANGER))
    assert told(votes, 2.2) == [("withdrawn", "ann")]
    assert told(votes, 2.4) == []
    assert votes.decision().verdict == "uncertain"


def test_withdrawn_name_leaves_a_stranger_once_the_lucky_crops_are_gone() -> None:
    """The window moves on; then the track is a stranger's, and that is news."""
    votes = ballot(*[ANN] * 3, *[STRANGER] * 6)
    told(votes, 2.0)
    for _ in range(12):
        votes.add(STRANGER)
    assert told(votes, 5.0) == [("unknown", None)]


def test_name_that_must_not_go_out_waits() -> None:
    """Withheld, it is not reported; reported and then withheld, it is withdrawn; let go, it is news again."""
    votes = ballot(*[ANN] * 3)
    assert told(votes, 0.5, withheld=True) == []
    assert told(votes, 0.7) == [("named", "ann")]
    assert told(votes, 0.9, withheld=True) == [("withdrawn", "ann")]
    assert told(votes, 1.1) == [("named", "ann")]


def test_crop_that_names_another_disputes_the_name() -> None:
    """It is a reason to look closer, as is a clear one of a stranger; a turned head is not."""
    assert ballot(ANN, ANN, ANN, BOB).disputed
    assert ballot(ANN, ANN, ANN, STRANGER).disputed
    assert not ballot(ANN, ANN, ANN, BOB, replace(STRANGER, clear=False)).disputed
    assert not ballot(ANN, BOB).disputed


def test_person_who_is_enrolled_in_view_is_named() -> None:
    """The crops that are kept, matched again, name the new person."""
    votes = ballot(*[STRANGER] * 4)
    assert told(votes, 1.0) == [("unknown", None)]
    votes.rematch([[Candidate("new", "7", 0.7)] for _ in votes.crops()], RULES)
    (news,) = votes.news(1.2)
    assert (news.report, news.decision.person, news.decision.user_id) == ("named", "new", "7")


def test_person_who_is_forgotten_is_not_named_any_more() -> None:
    """The name is withdrawn; what remains decides anew, and is news when that makes a stranger."""
    votes = ballot(*[ANN] * 5)
    assert told(votes, 1.0) == [("named", "ann")]
    votes.rematch([[Candidate("bob", None, 0.1)] for _ in votes.crops()], RULES)
    assert votes.decision().verdict == "unknown"
    assert told(votes, 1.2) == [("withdrawn", "ann"), ("unknown", None)]


def beaten(*scores: tuple[str, float], by: float = 0.9) -> list[Candidate]:
    """What a crop matches once a face like it was judged not to be these people's."""
    return list(RULES.standing([Candidate(name, None, score, by) for name, score in scores]))


def test_name_is_withdrawn_at_once_when_a_person_judges_it_wrong() -> None:
    """The crops, matched again, show a face that is known not to be hers: the track is a stranger's, and no near miss."""
    votes = ballot(*[ANN] * 3)
    assert told(votes, 1.0) == [("named", "ann")]
    votes.rematch([beaten(("ann", 0.6), ("bob", 0.1)) for _ in votes.crops()], RULES)
    assert votes.decision().verdict == "unknown"
    assert told(votes, 1.2) == [("withdrawn", "ann"), ("unknown", None)]
    votes.rematch([ANN.candidates for _ in votes.crops()], RULES)
    assert told(votes, 1.4) == [("named", "ann")]


def test_crop_that_a_rival_leads_is_not_near_and_speaks_against_the_name() -> None:
    """By the margin. A rival that is about as near leaves the crop uncertain: it names nobody and refutes nobody."""
    shown = replace(ANN, candidates=beaten(("ann", 0.6)))
    assert (shown.is_near(RULES), shown.names(RULES), shown.refutes("ann", RULES)) == (False, None, True)
    assert not replace(shown, clear=False).refutes("ann", RULES)
    about = replace(ANN, candidates=beaten(("ann", 0.6), by=0.62))
    assert (about.is_near(RULES), about.names(RULES), about.refutes("ann", RULES)) == (True, None, False)
    assert decide([about] * 5, RULES).verdict == "uncertain"
    assert about.margin == pytest.approx(-0.02)
    votes = ballot(*[ANN] * 3, *[shown] * 6)
    assert told(votes, 2.0) == []
    assert votes.decision().verdict == "uncertain"


def test_the_crop_that_decided_is_known() -> None:
    """Of a name its best crop, of a near miss the nearest; of a stranger there is none, nor without a crop."""
    better = crop(("ann", 0.7), ("bob", 0.1))
    votes = ballot(ANN, better, ANN, BOB)
    decided = votes.deciding_crop(votes.decision())
    assert decided is not None
    assert decided.score == 0.7
    near, nearer = crop(("ann", 0.42)), crop(("bob", 0.44), ("ann", 0.43))
    votes = ballot(near, nearer, STRANGER)
    decided = votes.deciding_crop(votes.decision())
    assert decided is not None
    assert decided.candidates[0].person == "bob"
    votes = ballot(*[STRANGER] * 3)
    assert votes.deciding_crop(votes.decision()) is None
    assert ballot(turned()).deciding_crop(Decision("uncertain")) is None
    assert ballot().deciding_crop(Decision("uncertain")) is None


def test_gallery_that_changes_elsewhere_leaves_a_name_alone() -> None:
    """The crops that gave the name are kept, however long ago that was."""
    votes = ballot(*[ANN] * 3, *[crop(("ann", 0.2), clear=False)] * 30)
    votes.rematch([one.candidates for one in votes.crops()], RULES)
    assert votes.decision().person == "ann"


def test_what_is_kept_of_a_track_is_bounded() -> None:
    """A track of a day holds a handful of crops."""
    votes = ballot(*[ANN] * 500)
    assert len(votes.crops()) <= 15
    assert votes.total == 500


CROPS = st.lists(
    st.builds(
        lambda first, second, quality, clear: crop(
            *sorted([("ann", first), ("bob", second)], key=lambda pair: -pair[1]), quality=quality, clear=clear
        ),
        st.floats(-0.3, 1.0),
        st.floats(-0.3, 1.0),
        st.floats(0.05, 1.0),
        st.booleans(),
    ),
    max_size=20,
)


@given(CROPS)
def test_named_always_means_enough_crops_that_pass_alone(crops: list[Crop]) -> None:
    """Whatever the crops: a name has `votes` passing crops and outweighs everybody else's; unknown has none near."""
    decision = decide(crops, RULES)
    passing = [one.names(RULES) for one in crops]
    if decision.verdict == "named":
        assert passing.count(decision.person) >= RULES.votes
        own = sum(one.quality for one, name in zip(crops, passing, strict=True) if name == decision.person)
        others = sum(
            one.quality for one, name in zip(crops, passing, strict=True) if name not in (None, decision.person)
        )
        assert own >= others
    elif decision.verdict == "unknown":
        assert not any(passing)
        assert any(one.clear for one in crops)
    assert decide(crops[::-1], RULES)[:3] == decision[:3], "the order of crops matters"


def test_a_name_counts_as_much_as_the_crops_that_had_to_agree_on_it() -> None:
    """`agreed` is the third best score of three votes: one lucky crop makes a track no surer."""
    scores = (0.9, 0.6, 0.5, 0.47)
    named = decide([crop(("ann", score)) for score in scores], RULES)
    assert (named.score, named.agreed) == (0.9, 0.5)
    assert decide([crop(("ann", 0.3)), crop(("ann", 0.2))], RULES).agreed == 0.2
    assert decide([crop()], RULES).agreed is None


def test_a_name_goes_when_the_limits_rise_with_the_gallery() -> None:
    """The crops score as before; the rules that follow from a larger gallery ask for more than they have."""
    votes = ballot(*[ANN] * 3)
    assert votes.decision().verdict == "named"
    stricter = Rules(threshold=0.65, margin=0.05, votes=3)
    votes.rematch([one.candidates for one in votes.crops()], stricter)
    assert votes.decision().verdict == "uncertain"


def test_a_person_s_own_crop_does_not_refute_the_name_when_the_threshold_is_high() -> None:
    """A large gallery asks for .60. A clear crop of the right person at .48 names nobody, and is nothing against the name either."""
    high = Rules(threshold=0.6, margin=0.05, votes=3, own_from=0.45)
    assert not crop(("ann", 0.48)).refutes("ann", high)
    assert crop(("ann", 0.34)).refutes("ann", high)
    assert crop(("bob", 0.48)).refutes("ann", high)
    assert not crop(("ann", 0.36)).refutes("ann", RULES)
    assert crop(("ann", 0.34)).refutes("ann", RULES)
