"""Items: what the hub takes, what it refuses and why, and that nothing is changed on the way through."""

from __future__ import annotations

import base64
import uuid
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.hub import deleted, now_revision, plain, reference, unit_vector
from workers.hub.items import Item, Kind, Unfit, fit_items, item_of, plain_item_of

ORIGIN = "AAAAAAAAAAA"
_GENEROUS = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # other tests may run meanwhile
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=8,
)


def _now_ms() -> int:
    return now_revision() >> 10


def taken(one: object) -> Item:
    return item_of(one, ORIGIN, _now_ms())


@pytest.mark.parametrize(
    "sent",
    [
        reference(1, 5),
        reference(2, 5, user_id="u-7", image_path=None, knows=12, person_name="Zoë O'Brien"),
        deleted(3, 9),
        {"kind": "person", "id": str(uuid.UUID(int=4)), "person_name": "Ada", "user_id": None, "merged_into": str(uuid.UUID(int=5)),
         "revision": 1024, "seq": 1},
        {"kind": "person", "id": str(uuid.UUID(int=4)), "deleted": True, "revision": 1024, "seq": 1},
        reference(7, 5, author="BBBBBBBBBBB"),
        {"kind": "forgotten", "id": str(uuid.UUID(int=6)), "deleted": True, "person_hash": "cd" * 32, "person_id": None, "revision": 7, "seq": 2},
    ],
)  # fmt: skip
def test_an_item_comes_out_as_it_went_in(sent: dict[str, Any]) -> None:
    """Through the database's document and back, with the origin of its batch and the time of its revision."""
    item = taken(sent)
    again = Item.from_document(item.to_document())
    assert again == item
    shown = again.to_json()
    assert shown.pop("origin") == ORIGIN
    assert shown.pop("updated_at").endswith("Z")
    assert shown == sent


def test_a_list_of_floats_is_as_good_as_packed_ones() -> None:
    packed = reference(1, 5)
    floats = {**packed, "embedding": [float(one) for one in unit_vector(1)]}
    del floats["embedding_b64"]
    assert taken(floats).embedding == taken(packed).embedding


def _packed(vector: Any) -> str:
    return base64.b64encode(np.asarray(vector, "<f4").tobytes()).decode()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"id": "7"}, "UUID"), ({"id": None}, "UUID"), ({"id": str(uuid.UUID(int=1)).replace("-", "")}, "UUID"),
        ({"revision": 0}, "revision"), ({"revision": True}, "revision"), ({"revision": 1 << 53}, "revision"), ({"revision": 1.5}, "revision"),
        ({"revision": now_revision() + (3600_000 << 10)}, "ahead"),
        ({"seq": 0}, "seq"), ({"seq": "1"}, "seq"),
        ({"kind": "crop"}, "kind"), ({"origin": "BBBBBBBBBBB"}, "origin"), ({"author": "B"}, "author"), ({"author": 5}, "author"),
        ({"person_name": ""}, "empty"), ({"person_name": "a/b"}, "slash"), ({"person_name": "a\nb"}, "control"), ({"person_name": 5}, "person_name"),
        ({"person_name": "x" * 201}, "characters"), ({"person_name": ".hidden"}, "dot"), ({"person_name": "\ud800"}, "UTF-8"),
        ({"user_id": 5}, "user_id"), ({"user_id": "x" * 5000}, "user_id"), ({"image_path": "a\0b"}, "image_path"),
        ({"model": None}, "model"), ({"model": "AB" * 32}, "model"), ({"person_id": None}, "person_id"), ({"knows": -1}, "knows"),
        ({"embedding_b64": "?"}, "base64"), ({"embedding_b64": 5}, "base64"), ({"embedding_b64": "AAA="}, "float32"),
        ({"dim": 127}, "dim"), ({"embedding_b64": None}, "embedding"),
        ({"embedding_b64": _packed(np.ones(128)), "dim": 128}, "norm"),
        ({"embedding_b64": _packed([np.nan] * 128)}, "finite"), ({"embedding_b64": _packed([np.inf] * 128)}, "finite"),
        ({"embedding_b64": _packed(np.ones(8) / np.sqrt(8)), "dim": 8}, "16 to 4096"),
        ({"embedding_b64": None, "embedding": [1e300] * 128}, "finite"), ({"embedding_b64": None, "embedding": [10**400] * 128}, "finite"),
        ({"embedding_b64": None, "embedding": [True] * 128}, "list of numbers"), ({"embedding_b64": None, "embedding": "abc"}, "list of numbers"),
    ],
)  # fmt: skip
def test_what_is_unfit_is_refused_with_its_reason(change: dict[str, Any], reason: str) -> None:
    """The reason names what is wrong, and holds neither a name nor a number of the face."""
    sent = {**reference(1, 5), **change}
    with pytest.raises(Unfit, match=reason) as caught:
        taken(sent)
    assert "P1" not in str(caught.value)


@_GENEROUS
@given(_JSON)
def test_no_document_breaks_it(sent: Any) -> None:
    """Whatever is sent is taken or refused."""
    for read in (taken, plain_item_of):
        try:
            read(sent)
        except Unfit:
            continue


@_GENEROUS
@given(st.dictionaries(st.sampled_from(sorted({**reference(1, 5), "kind": ""})), _JSON, max_size=3))
def test_no_field_breaks_it(change: dict[str, Any]) -> None:
    """A reference with any of its fields replaced by anything is taken or refused."""
    try:
        item = taken({**reference(1, 5), **change})
    except Unfit:
        return
    assert Item.from_document(item.to_document()) == item


def test_one_bad_item_holds_up_no_other() -> None:
    """The others are taken, in the order of seq. The second with the same seq and one outside of the batch are refused."""
    sent = [
        reference(3, 9),
        reference(1, 2, person_name=""),
        "nonsense",
        reference(2, 3),
        reference(4, 3),
        reference(5, 11),
    ]
    fit, refused = fit_items(sent, ORIGIN, 1, 10, _now_ms())
    assert [one.seq for one in fit] == [3, 9]
    assert [(one.id, one.kind) for one in refused] == [
        (str(uuid.UUID(int=1)), None), (None, None), (str(uuid.UUID(int=4)), None), (str(uuid.UUID(int=5)), None)
    ]  # fmt: skip


def test_a_mark_holds_nothing_of_whom_it_is_about() -> None:
    """Deletions and forgettings drop a name, a path, a user id and a face that somebody sends along."""
    for sent in (deleted(1, 5), {"kind": "forgotten", "id": str(uuid.UUID(int=6)), "revision": 7, "seq": 2},
                 {"kind": "person", "deleted": True, "id": str(uuid.UUID(int=6)), "revision": 7, "seq": 2}):  # fmt: skip
        item = taken({**reference(1, 5), **sent})
        assert item.kind is not Kind.REFERENCE
        kept = item.to_document()
        assert not {"person_name", "image_path", "user_id", "embedding"} & set(kept)


def test_a_plain_item_has_the_same_id_each_time() -> None:
    """Made from name and path, or from the vector without a path: not from the vector's length, nor from how the fields are called."""
    first = plain_item_of(plain(1))
    twice = {**plain(1), "embedding": [2 * one for one in plain(1)["embedding"]]}
    assert plain_item_of(twice).id == first.id
    assert np.allclose(np.frombuffer(plain_item_of(twice).embedding, "<f4"), unit_vector(1), atol=1e-6)
    camel = {"personName": "P1", "embedding": plain(1)["embedding"], "imagePath": "faces/P1.jpg", "userId": None}
    assert plain_item_of(camel) == first
    without = {**plain(1), "image_path": None}
    assert plain_item_of(without).id != first.id
    assert plain_item_of(without).id == plain_item_of(without).id
    assert plain_item_of({**without, "embedding": plain(2)["embedding"]}).id != plain_item_of(without).id


def test_a_plain_answer_keeps_each_float() -> None:
    """A plain client that reads the numbers as float32 has the very vector."""
    item = taken(reference(1, 5))
    assert np.array_equal(np.array(item.to_plain()["embedding"]).astype("<f4"), unit_vector(1))
