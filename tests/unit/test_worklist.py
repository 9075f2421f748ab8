"""What is worth a look: found in a gallery of known make, and joined with who these are now."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pytest

from shared.errors import RefusedError
from shared.ipc.requests.references import OneSidedPerson, ReferencesFound
from shared.records import Person, Reference, Side
from shared.settings.file import load_settings
from shared.settings.schema import Settings
from tests.support.vectors import noise, people, unit
from workers.calibration.calibration import calibrate
from workers.calibration.gallery_copy import References
from workers.calibration.worklist import Worklist, worklist
from workers.dashboard import worklist as keeping
from workers.dashboard.worklist import Findings, WorklistKeeper, page_of
from workers.recognition.false_match_law import FalseMatchLaw
from workers.recognizer_arcface import LAW

_PEOPLE = 12


@dataclass(frozen=True)
class Point:
    threshold: float = 0.45
    margin: float = 0.05
    law: FalseMatchLaw = LAW


def gallery(different: frozenset[tuple[int, int]] = frozenset(), right: frozenset[int] = frozenset()) -> References:
    """Twelve people with four references each, of ids from 100 on. 10 and 11 are one person; the last reference of 3 is somebody else's. Then 12
    with one reference, and 13 with two of one picture."""
    rng = np.random.default_rng(5)
    vectors = people(rng, _PEOPLE, 4)
    vectors[44:48] = unit(vectors[40:44].sum(axis=0) + noise(rng, 4) * np.float32(1.3))
    vectors[15] = noise(rng, 1)[0]
    alone = noise(rng, 2)
    persons = np.append(np.repeat(np.arange(_PEOPLE), 4), [12, 13, 13]).astype(np.int32)
    rows = np.concatenate([vectors, alone[[0, 1, 1]]])
    return References(rows, persons, np.arange(100, 100 + len(rows)), [f"p{n}" for n in range(14)], different, right)


def found_in(references: References) -> Worklist:
    return worklist(references, Point(), None)


def test_a_gallery_shows_what_is_worth_a_look() -> None:
    """One person under two names, the reference of somebody else, and who has one picture only: one reference, or copies."""
    found = found_in(gallery())
    (pair,) = found.pairs
    assert {(one - 100) // 4 for one in pair.references} == {10, 11}
    (odd,) = found.odd
    assert (odd.reference, (odd.nearest - 100) // 4) == (115, 3)
    assert odd.score < 0.35
    assert [(one.reference, one.copies) for one in found.single] == [(150, 2), (148, 1)]
    assert (found.odd_found, found.single_found, found.compared) == (1, 2, 51)
    assert found.pairs[0].score == pytest.approx(
        float(np.max(gallery().vectors[40:44] @ gallery().vectors[44:48].T)), abs=1e-4
    )


def test_a_pair_that_is_known_to_be_different_is_none() -> None:
    assert found_in(gallery(frozenset({(10, 11)}))).pairs == []
    assert found_in(gallery(frozenset({(9, 10)}))).pairs != []


def test_a_reference_that_somebody_said_is_right_is_not_odd() -> None:
    """It is told apart, so that it can be found again. One that would not be odd is not told at all. `calibrate` counts it as its person's."""
    found = found_in(gallery(right=frozenset({115, 101})))
    assert (found.odd, found.odd_found, found.right) == ([], 0, [115])
    assert found_in(gallery(right=frozenset({101}))).right == []
    with_it, without = (
        calibrate(gallery(right=right), Point(), 0.01) for right in (frozenset({115}), frozenset[int]())
    )
    assert ([one.row for one in without.disagreeing], with_it.disagreeing) == ([15], [])
    assert (without.left_out.disagreeing, with_it.left_out.disagreeing) == (1, 0)
    assert len(with_it.scores.own) == len(without.scores.own) + 1


def test_an_empty_gallery_has_nothing() -> None:
    empty = References(np.empty((0, 8), np.float32), np.empty(0, np.int32), np.empty(0, np.int64), [])
    found = found_in(empty)
    assert (found.pairs, found.odd, found.single) == ([], [], [])


def test_who_is_shown_from_one_side_is_told_as_the_store_has_it() -> None:
    """At most so many of each kind, and how many there are."""
    given = [OneSidedPerson(100 + 4 * number, Side.LEFT, 4) for number in range(101)]
    found = worklist(gallery(), Point(), None, one_sided=given)
    assert (found.one_sided, found.one_sided_found) == (given[:100], 101)


# --- joined with who these are now --------------------------------------------------------------------------------------


def findings() -> Findings:
    return Findings(7, asdict(found_in(gallery())))


def known(**people_of: str) -> ReferencesFound:
    """The references that were found, of the people of these names: `r140="p11"`. The others are as they were."""
    found = findings()
    names = {one: f"p{12 + (one > 148) if one >= 148 else (one - 100) // 4}" for one in found.ids}
    names |= {int(one[1:]): name for one, name in people_of.items()}
    references = [Reference(one, name, None, None, 1) for one, name in names.items() if name]
    listed = [
        Person(name, None, {"p12": 1, "p13": 2}.get(name, 4), None, None, 0, f"id-{name}")
        for name in sorted(set(names.values()) - {""})
    ]
    return ReferencesFound(references=references, people=listed, different=[], change_number=7)


def shown(now: ReferencesFound, limit: int = 50) -> tuple[list[Any], list[Any], list[str], int]:
    page = page_of(findings(), now, limit=limit, looking=False, fault=None)
    pairs = [sorted(one.person for one in pair.people) for pair in page.pairs]
    return pairs, [one.person.person for one in page.odd], [one.person for one in page.single], page.single_found


def test_what_was_found_is_told_with_todays_names() -> None:
    assert shown(known()) == ([["p10", "p11"]], ["p3"], ["p13", "p12"], 2)
    first = findings().document["pairs"][0]["references"][0]
    name = f"p{(first - 100) // 4}"
    renamed = shown(known(**{f"r{first}": "Zoë"}))[0]
    assert [one for one in renamed[0] if one not in ("p10", "p11")] == ["Zoë"], name
    assert shown(known(), limit=1)[2:] == (["p13"], 2)


def test_what_is_settled_is_not_told_again() -> None:
    """Merged, different, set aside, forgotten, or with another photo since: nothing of it is in the answer."""
    first, second = findings().document["pairs"][0]["references"]
    now = known()
    assert shown(known(**{f"r{first}": "p1", f"r{second}": "p1"}))[0] == []
    assert shown(replace(now, different=[("id-p10", "id-p11")]))[0] == []
    assert shown(replace(now, different=[("id-p11", "id-p10")]))[0] == []
    aside = [replace(one, set_aside_since="2026-01-31T08:00:00Z") if one.id == 115 else one for one in now.references]
    assert shown(replace(now, references=aside))[1] == []
    right = [replace(one, right_since="2026-01-31T08:00:00Z") if one.id == 115 else one for one in now.references]
    assert shown(replace(now, references=right))[1] == []
    assert shown(known(r115="", r148=""))[1:] == ([], ["p13"], 1)
    more = [replace(one, references=one.references + 1) if one.person == "p12" else one for one in now.people]
    assert shown(replace(now, people=more))[2:] == (["p13"], 1)


def test_what_is_no_longer_right_is_looked_for() -> None:
    """The gallery is the same, so only the mark that is gone tells that a search would find more. A reference that is gone does not."""
    found = Findings(7, asdict(found_in(gallery(right=frozenset({115})))))
    since = "2026-01-31T08:00:00Z"
    marked = [replace(one, right_since=since) if one.id == 115 else one for one in known(r115="p3").references]

    def is_used_up(references: list[Reference]) -> bool:
        now = replace(known(), references=references)
        return found.is_used_up(page_of(found, now, limit=50, looking=False, fault=None), now)

    assert 115 in found.ids
    assert not is_used_up(marked)
    assert is_used_up([replace(one, right_since=None) for one in marked])
    assert not is_used_up([one for one in marked if one.id != 115])


def test_whoever_has_other_photos_since_is_not_told_to_be_of_one_side() -> None:
    """The sides that are missing are told; whoever got another reference, or is gone, is not in the list."""
    given = [OneSidedPerson(100, Side.LEFT, 4), OneSidedPerson(104, Side.RIGHT, 4)]
    found = Findings(7, asdict(worklist(gallery(), Point(), None, one_sided=given)))

    def told(**people_of: str) -> tuple[list[tuple[str, list[Side]]], int]:
        now = known(**{"r100": "p0", "r104": "p1"} | people_of)
        now = replace(now, people=[replace(one, references=5) if one.person == "more" else one for one in now.people])
        page = page_of(found, now, limit=50, looking=False, fault=None)
        return [(one.person.person, one.missing) for one in page.one_sided], page.one_sided_found

    assert told() == ([("p0", [Side.FRONT, Side.RIGHT]), ("p1", [Side.FRONT, Side.LEFT])], 2)
    assert told(r100="more") == ([("p1", [Side.FRONT, Side.LEFT])], 1)
    assert told(r100="", r104="") == ([], 0)


# --- kept until the gallery changes ---------------------------------------------------------------------------------------


class Commands:
    """Stands for the command: what it prints, or how it fails."""

    def __init__(self) -> None:
        self.run, self.fails = 0, False

    async def answer_of(self, _: Settings, *words: str, timeout_s: float) -> Any:
        assert (words, timeout_s > 60) == (("worklist",), True)
        self.run += 1
        await asyncio.sleep(0)
        if self.fails:
            raise RefusedError("the gallery was embedded with another model")
        return {"change_number": self.run, **asdict(found_in(gallery()))}


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Commands:
    made = Commands()
    monkeypatch.setattr(keeping, "answer_of", made.answer_of)
    return made


async def _settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_it_is_found_once_for_each_state_of_the_gallery(commands: Commands) -> None:
    """One search at a time, however many ask; none while nothing has changed; after one a rest, even if the gallery goes on changing."""
    now = [100.0]

    async def asked() -> None:
        keeper = WorklistKeeper(load_settings(None), lambda: now[0])
        assert [keeper.refresh(1, used_up=False) for _ in range(3)] == [True, True, True]
        await _settle()
        assert (commands.run, keeper.refresh(1, used_up=False)) == (1, False)
        assert keeper.refresh(2, used_up=False)
        await _settle()
        assert commands.run == 1, "it rests"
        now[0] += 3
        assert keeper.refresh(2, used_up=False)
        await _settle()
        assert (commands.run, keeper.refresh(2, used_up=False)) == (2, False)
        now[0] += 3
        assert keeper.refresh(2, used_up=True), "all that was found is answered, and there can be more"
        await keeper.close()

    asyncio.run(asked())


def test_a_search_that_fails_is_told_and_tried_again(commands: Commands) -> None:
    now = [100.0]
    commands.fails = True

    async def asked() -> None:
        keeper = WorklistKeeper(load_settings(None), lambda: now[0])
        keeper.refresh(1, used_up=False)
        await _settle()
        assert (keeper.found, keeper.fault) == (None, "the gallery was embedded with another model")
        commands.fails = False
        now[0] += 3
        keeper.refresh(2, used_up=False)
        await _settle()
        assert (keeper.found is not None, keeper.fault) == (True, None)

    asyncio.run(asked())
