"""What comes over the wire: read as it was sent, or refused with a reason."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest

from shared.errors import RefusedError
from shared.sync.hybrid_clock import Version
from shared.sync.items import DeletedItem, ForgottenItem, Item, PersonItem, ReferenceItem, item_of, name_of_item

UUID, OTHER = "01a21f1a-90cc-7d09-a0f3-1afdf51db145", "01a21f1b-7e41-788e-9250-d5a395b3ef90"
VECTOR = np.full(16, 0.25, np.float32)
STAMP: dict[str, Any] = {"version": Version(9, "AAAA"), "seq": 3}


def reference(**changed: object) -> dict[str, Any]:
    item = ReferenceItem(
        id=UUID, person_name="Ada", person_id=OTHER, user_id="7", image_path="faces/Ada/a.jpg", vector=VECTOR, model="ab" * 32,
        knows=4, updated_at="2026-01-31T08:00:00Z", **STAMP,
    )  # fmt: skip  # one item
    return item.to_json() | changed


@pytest.mark.parametrize(
    "item",
    [
        PersonItem(id=UUID, person_name="Ada", user_id="7", merged_into=OTHER, **STAMP),
        PersonItem(id=UUID, person_name=None, user_id=None, merged_into=OTHER, **STAMP),
        DeletedItem(id=UUID, **STAMP),
        ForgottenItem(id=UUID, person_id=OTHER, person_hash="cd" * 32, **STAMP),
        ForgottenItem(id=UUID, person_id=None, person_hash=None, **STAMP),
    ],
)
def test_what_is_sent_is_what_comes(item: Item) -> None:
    """Each kind, with and without what is optional."""
    assert item_of(item.to_json()) == item


def test_a_reference_comes_as_it_was_sent() -> None:
    """Bit for bit."""
    found = item_of(reference())
    assert isinstance(found, ReferenceItem)
    assert found.to_json() == reference()
    assert found.vector.tobytes() == VECTOR.tobytes()


def test_an_embedding_may_come_as_numbers() -> None:
    """Of any length but zero: a plain client's need not be unit vectors."""
    plain = reference(embedding=[2.0] * 16, embedding_b64=None, model=None, person_id=None, knows=None)
    found = item_of(plain)
    assert isinstance(found, ReferenceItem)
    assert (found.vector.tolist(), found.model, found.person_id, found.knows) == ([2.0] * 16, None, None, 0)


def b64(*numbers: float) -> str:
    return base64.b64encode(np.array(numbers, "<f4").tobytes()).decode()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"id": "no uuid"}, "id"),
        ({"id": None}, "id"),
        ({"person_name": ""}, "not a name"),
        ({"person_name": "a/b"}, "slash"),
        ({"person_name": "x" * 201}, "201 characters"),
        ({"person_name": "A\u200bda"}, "invisible"),
        ({"person_name": "A\nda"}, "control"),
        ({"person_name": 7}, "name"),
        ({"user_id": 7}, "text"),
        ({"image_path": "a\0b"}, "text"),
        ({"person_id": "p"}, "person_id"),
        ({"model": "m"}, "model"),
        ({"revision": 0}, "revision"),
        ({"revision": 1 << 53}, "revision"),
        ({"revision": True}, "revision"),
        ({"revision": 1.5}, "revision"),
        ({"origin": "a b"}, "origin"),
        ({"seq": 0}, "seq"),
        ({"knows": -1}, "knows"),
        ({"dim": 17}, "embedding"),
        ({"embedding_b64": "?"}, "embedding"),
        ({"embedding_b64": "AAA="}, "embedding"),
        ({"embedding_b64": b64(*[0.0] * 16)}, "norm"),
        ({"embedding_b64": b64(*[0.3] * 16)}, "norm"),
        ({"embedding_b64": b64(float("nan"), *[0.25] * 15)}, "norm"),
        ({"embedding_b64": b64(float("inf"), *[0.25] * 15)}, "norm"),
        ({"embedding_b64": None, "embedding": [0.0] * 16}, "norm"),
        ({"embedding_b64": None, "embedding": [[1.0] * 16]}, "embedding"),
        ({"embedding_b64": None, "embedding": ["x"] * 16}, "embedding"),
        ({"embedding_b64": None, "embedding": None}, "embedding"),
        ({"embedding_b64": None, "embedding": [1.0] * 5000, "dim": 5000}, "embedding"),
    ],
)
def test_what_is_unfit_is_refused_with_a_reason(changed: dict[str, object], said: str) -> None:
    """And without the numbers of the face."""
    with pytest.raises(RefusedError, match=said):
        item_of(reference(**changed))


@pytest.mark.parametrize("document", [None, 7, "x", []])
def test_what_is_no_object_is_refused(document: object) -> None:
    """A name for it there is all the same."""
    with pytest.raises(RefusedError, match="item"):
        item_of(document)
    assert name_of_item(document) == "reference ?"


def test_a_kind_of_a_later_version_is_passed_over() -> None:
    """It is no fault."""
    assert item_of({"kind": "aura", "id": UUID}) is None


def test_an_item_is_named_by_kind_and_uuid() -> None:
    """Whatever it holds, the name stays short."""
    assert name_of_item({"kind": "person", "id": UUID}) == f"person {UUID}"
    assert name_of_item({"kind": ["x"], "id": 7}) == "? ?"
    assert len(name_of_item({"id": "x" * 10_000})) == 80
