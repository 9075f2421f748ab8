"""Which versions may be deleted: a reader of what is left knows the same as one of all."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workers.hub.settling import Version, useless

_GENEROUS = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # other tests may run meanwhile
ORIGINS = ("aaaaaaaaaaa", "bbbbbbbbbbb", "ccccccccccc")
VERSIONS = st.lists(
    st.builds(
        Version,
        id=st.sampled_from(("1", "2")),
        kind=st.sampled_from(("reference", "reference", "person", "deleted", "forgotten")),
        model=st.sampled_from((None, "m", "n")),
        revision=st.integers(1, 6),
        origin=st.sampled_from(ORIGINS),
        seq=st.integers(1, 12),
        person_id=st.sampled_from((None, "p", "q")),
        knows=st.integers(0, 6),
        author=st.sampled_from((None, *ORIGINS)),
    ),
    max_size=14,
    unique_by=lambda one: one.document_id,
)
HEADS = st.dictionaries(st.sampled_from(ORIGINS), st.integers(0, 12))
Known = dict[tuple[str, str, str | None], Version]


def read(versions: Iterable[Version]) -> Known:
    """What a site knows once it has read these: the newest of each thing, less what is deleted or forgotten."""
    seen = list(versions)
    newest = _newest(seen)
    deleted = {one.id for one in seen if one.kind == "deleted"}
    marks = [one for one in seen if one.kind == "forgotten" and one.person_id is not None]
    return {
        thing: one
        for thing, one in newest.items()
        if one.kind != "reference"
        or not (one.id in deleted or any(m.person_id == one.person_id and one.knows < m.revision for m in marks))
    }


def _newest(versions: Iterable[Version]) -> Known:
    newest: Known = {}
    for one in sorted(versions, key=lambda version: (version.revision, version.author or version.origin, version.seq)):
        newest[one.id, one.kind, one.model] = one
    return newest


@_GENEROUS
@given(VERSIONS, HEADS)
def test_a_new_reader_misses_nothing(versions: list[Version], heads: dict[str, int]) -> None:
    """What is published and left has the same meaning as all that is published."""
    gone = useless(versions, heads)
    left = [one for one in versions if one not in gone]
    published = [one for one in versions if one.is_published(heads)]
    assert read(one for one in left if one.is_published(heads)) == read(published)


@_GENEROUS
@given(VERSIONS, HEADS, HEADS)
def test_what_is_published_later_is_not_missed_either(
    versions: list[Version], heads: dict[str, int], more: dict[str, int]
) -> None:
    """Settling early, and again when more is published, comes to the same; so does never settling."""
    later = {origin: max(heads.get(origin, 0), more.get(origin, 0)) for origin in ORIGINS}
    left = [one for one in versions if one not in useless(versions, heads)]
    left = [one for one in left if one not in useless(left, later)]
    published = [one for one in versions if one.is_published(later)]
    known, wanted = read(one for one in left if one.is_published(later)), read(published)
    # An older version comes to light if the newest one went early, for a forgetting: its site sends the deletion.
    forgotten = {
        thing
        for thing, newest in _newest(published).items()
        if any(one.kind == "forgotten" and one.stands_for(newest) for one in published)
    }
    assert {thing: one for thing, one in known.items() if thing not in forgotten} == wanted
    marks = [one for one in published if one.kind in ("deleted", "forgotten")]
    shown = [one for one in known.values() if one.kind == "reference"]
    assert not any(mark.stands_for(one) for one in shown for mark in marks)


@_GENEROUS
@given(VERSIONS)
def test_nothing_unpublished_stands_for_anything(versions: list[Version]) -> None:
    """A batch that its site never ends changes nothing for anybody."""
    assert useless(versions, {}) == []


def test_a_deletion_leaves_nothing_of_its_reference() -> None:
    """Of every model, every origin, and any revision."""
    saves = [
        Version("1", "reference", model, 1000, origin, seq, None, 0, None)
        for seq, (model, origin) in enumerate(((None, ORIGINS[0]), ("m", ORIGINS[1]), ("n", ORIGINS[2])), start=1)
    ]
    mark = Version("1", "deleted", None, 1, ORIGINS[0], 5, None, 0, None)
    assert set(useless([*saves, mark], {ORIGINS[0]: 5})) == set(saves)


def test_a_version_that_another_origin_sent_again_is_no_newer() -> None:
    """Of two versions of one time that of the greater author stands, whoever sent the other one again."""
    newer = Version("1", "reference", "m", 40, ORIGINS[1], 1, "p", 0, None)
    again = Version("1", "reference", "m", 40, ORIGINS[2], 1, "p", 0, ORIGINS[0])
    assert useless([newer, again], {ORIGINS[1]: 1, ORIGINS[2]: 1}) == [again]


def test_whoever_was_enrolled_again_stays() -> None:
    """A site that knew of the forgetting meant it."""
    mark = Version("9", "forgotten", None, 50, ORIGINS[0], 5, "p", 0, None)
    before = Version("1", "reference", "m", 40, ORIGINS[1], 1, "p", 0, None)
    unaware = Version("2", "reference", "m", 60, ORIGINS[1], 2, "p", 0, None)
    aware = Version("3", "reference", "m", 60, ORIGINS[1], 3, "p", 50, None)
    assert set(useless([mark, before, unaware, aware], {ORIGINS[0]: 5})) == {before, unaware}
