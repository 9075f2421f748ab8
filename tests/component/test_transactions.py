"""Whatever fails in a change, all of it is there or nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shared.model_id import ModelId
from shared.records import NewReference
from shared.store.check import store_faults
from shared.store.copying import copy_to
from shared.store.references import (
    delete_references,
    forget_person,
    list_references,
)
from shared.store.saving import save
from shared.store.staging import stage
from tests.support.stores import (
    Failing,
    FailingConnection,
    InterruptedConnection,
    event,
    fail_everywhere,
    keep,
    record,
    store_in,
    vectors,
)


def _save_batch(store: Any) -> None:
    """New ones, updates of both kinds, a mark lifted."""
    with store.transaction():
        named = [("p0", "0.jpg"), ("p1", None), ("p9", "9.jpg"), ("p9", None), ("marked", "m.jpg"), ("p2", "2.jpg")]
        save(store, [NewReference(name, path, "u") for name, path in named], vectors(len(named)))


def _forget_many(store: Any) -> None:
    with store.transaction():
        for name in ("p1", "p2", "p3"):
            forget_person(store, name)


def _switch(store: Any) -> None:
    from shared.store.staging import switch_model

    with store.transaction():
        switch_model(store, ModelId.parse("insightface/other", "f" * 64, 8))


def _restore(store: Any) -> None:
    from shared.store.restoring import replace_from

    replace_from(store, store.path.with_name("old.db"))


@pytest.mark.parametrize("kind", [FailingConnection, InterruptedConnection], ids=["statement", "instruction"])
@pytest.mark.parametrize("attempt", [_save_batch, _forget_many, _switch, _restore])
def test_whatever_fails_leaves_all_or_nothing(tmp_path: Path, kind: Failing, attempt: Any) -> None:
    """The 1st, 2nd, 3rd … statement fails, then each score of SQLite's own instructions: each time the store is sound and
    as it was; at last it passes, and all of it is there."""
    path = tmp_path / "face_embeddings.db"
    with store_in(tmp_path) as store:
        keep(store, vectors(6), *(NewReference(f"p{i}", f"{i}.jpg" if i % 2 == 0 else None) for i in range(6)))
        keep(store, vectors(1), NewReference("marked", "m.jpg", None, None, "d" * 64))
        copy_to(store, tmp_path / "old.db")
        with store.transaction():
            delete_references(store, "marked")
            record(store, [event(f"k{i}", f"p{i % 6}") for i in range(12)], "s")
            staged = list_references(store)[:5]
            changes = [one.change_number or 0 for one in staged]
            stage(store, [one.id for one in staged], changes, vectors(5, 8), "f" * 64)
    failures, after = fail_everywhere(path, kind, attempt)
    assert failures >= 4
    assert after != {}
    people = {row[1] for row in after["embeddings"]}
    assert (
        people
        == {
            _save_batch: {*(f"p{i}" for i in range(6)), "p9", "marked"},
            _forget_many: {"p0", "p4", "p5"},
            _switch: {f"p{i}" for i in range(5)},
            _restore: {f"p{i}" for i in range(6)},
        }[attempt]
    )
    with store_in(tmp_path) as store:
        assert store_faults(store) == []
