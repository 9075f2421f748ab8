"""Who the people are: one answer, whatever the order, with a name of their own for everybody."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from shared.person_names import name_key, unfitness
from shared.sync.hybrid_clock import Version
from shared.sync.people_registers import Register, Shown, Told, looks_of, root_of, shown_people

UUIDS = ("p1", "p2", "p3", "p4", "p5")
NAMES = ("Ada", "Bo", "Ada (7)", "Ada (8)")
USER_IDS = st.sampled_from((None, None, "7", "8", "a/b"))
REGISTERS = st.lists(
    st.builds(
        Register,
        uuid=st.sampled_from(UUIDS),
        name=st.sampled_from((None, *NAMES)),
        user_id=USER_IDS,
        merged_into=st.sampled_from((None, None, *UUIDS, "elsewhere")),
    ),
    unique_by=lambda one: one.uuid,
)
TOLD = st.lists(
    st.builds(
        Told,
        person=st.sampled_from(UUIDS),
        name=st.sampled_from(NAMES),
        user_id=USER_IDS,
        version=st.builds(Version, st.integers(1, 10**6), st.sampled_from("ab")),
    ),
    max_size=8,
    unique_by=lambda one: one.version,
)


def shown_of(registers: list[Register], told: list[Told]) -> dict[str, Shown]:
    return shown_people({one.uuid: one for one in registers}, told)


def told(person: str, name: str, user_id: str | None = None, revision: int = 1) -> Told:
    return Told(person, name, user_id, Version(revision, "o"))


@given(REGISTERS, TOLD, st.randoms())
def test_the_order_does_not_matter(registers: list[Register], told: list[Told], random: Random) -> None:
    """The same registers and references show the same people."""
    before = shown_of(registers, told)
    random.shuffle(registers)
    random.shuffle(told)
    assert shown_of(registers, told) == before


@given(REGISTERS, TOLD)
def test_everybody_with_a_reference_has_a_name_of_their_own(registers: list[Register], told: list[Told]) -> None:
    """A name that can be enrolled, and that looks like nobody else's; and a UUID that is not somebody else's."""
    shown = shown_of(registers, told)
    assert shown.keys() >= {one.person for one in told}
    everybody = set(shown.values())
    assert len({name_key(one.name) for one in everybody}) == len({one.uuid for one in everybody}) == len(everybody)
    assert not [one for one in everybody if unfitness(one.name)]


@given(REGISTERS, TOLD, st.sampled_from(UUIDS))
def test_a_part_shows_what_the_whole_shows(registers: list[Register], told: list[Told], uuid: str) -> None:
    """Whoever is found over mergers and `looks_of` decides alone on how a person is shown."""
    met: set[str] = set()
    left = {uuid}
    looks: set[str] = set()
    while left:
        met |= left
        mine = [one for one in registers if one.uuid in met]
        names = [(one.name, one.user_id) for one in mine if one.name is not None]
        names += [(one.name, one.user_id) for one in told if one.person in met]
        looks |= {key for name, user_id in names for key in looks_of(name, user_id)}
        left = {one.merged_into for one in mine if one.merged_into is not None}
        left |= {one.uuid for one in registers if one.merged_into in met}
        left |= {one.uuid for one in registers if one.name is not None and name_key(one.name) in looks}
        left |= {one.person for one in told if name_key(one.name) in looks}
        left -= met
    part = shown_of([one for one in registers if one.uuid in met], [one for one in told if one.person in met])
    assert part.get(uuid) == shown_of(registers, told).get(uuid)


def test_one_name_is_one_person() -> None:
    """The smaller UUID stays."""
    shown = shown_of([], [told("p2", "Ada"), told("p1", "Ada")])
    assert shown["p1"] == shown["p2"] == Shown("p1", "Ada", None, "Ada")


def test_other_user_ids_are_other_people() -> None:
    """The smallest UUID keeps the name; whoever has no user id belongs to the first who has one."""
    shown = shown_of([], [told("p1", "Ada", "7"), told("p2", "Ada", "8"), told("p3", "Ada")])
    assert (shown["p1"].name, shown["p2"].name) == ("Ada", "Ada (8)")
    assert shown["p3"] == shown["p1"]
    assert shown["p2"].own_name == "Ada"
    assert shown["p2"].shares_name


def test_a_name_with_a_user_id_behind_it_can_be_taken() -> None:
    """Then the UUID is behind it instead."""
    shown = shown_of([], [told("p1", "Ada", "7"), told("p2", "Ada", "8"), told("p3", "Ada (8)")])
    assert (shown["p2"].name, shown["p3"].name) == ("Ada (p2)", "Ada (8)")


def test_a_register_counts_before_what_references_tell() -> None:
    """A rename; and once the person is gone from the register, the newest reference tells the name."""
    both = [told("p1", "Ada", "7", 1), told("p1", "Eve", None, 2)]
    assert shown_of([Register("p1", "Bo")], both)["p1"] == Shown("p1", "Bo", "7", "Bo")
    assert shown_of([Register("p1", None)], both)["p1"] == Shown("p1", "Eve", "7", "Eve")


def test_of_a_circle_of_mergers_the_smallest_stays() -> None:
    """Two sites can merge two people into each other at once."""
    registers = [Register("p1", "Ada", None, "p2"), Register("p2", "Bo", None, "p1")]
    assert root_of({one.uuid: one for one in registers}, "p2") == "p1"
    shown = shown_of(registers, [told("p2", "Bo")])
    assert shown["p1"] == shown["p2"] == Shown("p1", "Ada", None, "Ada")


def test_whoever_was_merged_into_somebody_unknown_is_shown() -> None:
    """The other's register may come later. Until then the references tell a name."""
    shown = shown_of([Register("p1", "Ada", None, "p9")], [told("p1", "Ada")])
    assert shown["p1"] == shown["p9"] == Shown("p9", "Ada", None, "Ada")
