"""The gallery's one door: groups of requests, faults of one and of all, and the switch to another model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.errors import RefusedError, RollcallError, UsageError
from shared.ipc.requests.base import Request
from shared.ipc.requests.forgetting import Forget
from shared.ipc.requests.model import Stage, Staged, Switched, SwitchModel
from shared.ipc.requests.sightings import Record
from shared.ipc.requests.table import request_of
from shared.model_id import ModelId
from shared.records import NewReference, Reference
from shared.store.check import store_faults
from shared.store.references import (
    count_references,
    list_references,
)
from tests.support.stores import (
    DIM,
    FailingConnection,
    event,
    everything,
    fail_everywhere,
    keep,
    request,
    save_request,
    service_of,
    sightings,
    store_in,
    vectors,
)

_Sent = tuple[str, bytes, dict[str, Any]]
_BAD_REQUESTS: list[_Sent] = [
    ("save", np.full(DIM, np.nan, np.float32).tobytes(), {"rows": [{"person_name": "Bad"}]}),
    ("save", vectors(1, 3).tobytes(), {"rows": [{"person_name": "Bad"}]}),
    ("save", b"odd", {"rows": [{"person_name": "Bad"}]}),
    ("save", vectors(1).tobytes(), {"rows": [{"person_name": " "}]}),
    ("save", vectors(1).tobytes(), {"rows": [{"person_name": "Bad\0"}]}),
    ("save", vectors(1).tobytes(), {"rows": [{"person_name": "\ud800"}]}),
    ("save", vectors(1).tobytes(), {"rows": [{"person_name": "Bad", "image_path": {"a": 1}}]}),
    ("save", vectors(1).tobytes(), {"rows": [{"person_name": "Bad", "user_id": 5}]}),
    ("save", vectors(1).tobytes(), {"rows": ["Bad"]}),
    ("save", vectors(1).tobytes(), {"rows": 5}),
    (
        "save",
        vectors(2).tobytes(),
        {"rows": [{"person_name": "Bad", "uuid": "u"}, {"person_name": "Worse", "uuid": "u"}]},
    ),
    ("save", b"", {}),
    ("delete", b"", {"person_name": None}),
    ("forget", b"", {"person": ["Bad"]}),
    ("forget", b"", {"person": "Bad"}),
    ("record", b"", {"events": [{"key": "k2"}]}),
    ("record", b"", {"events": [event("k3", kind="unknown", time=None)]}),
    ("record", b"", {"events": [event("k4", kind="unknown", camera={"a": 1})]}),
    ("record", b"", {"events": [event("k5", kind="unknown", track=float("nan")), 7]}),
    ("record", b"", {"events": "none"}),
    ("stage", vectors(1).tobytes(), {"ids": [1 << 70], "changes": [1], "fingerprint": "f"}),
    ("switch_model", b"", {"model": "m"}),
    ("stamp", b"", {"model": None, "fingerprint": "f", "dim": DIM}),
]


def _as_it_comes(bad: _Sent) -> Request[Any] | UsageError:
    """What is no request is answered by who reads the socket; the rest of its group is carried out."""
    op, blob, arguments = bad
    try:
        return request(op, blob, **arguments)
    except UsageError as error:
        return error


def test_a_bad_request_in_a_group_fails_alone(tmp_path: Path) -> None:
    """Among good ones, in any place: every bad request gets its own refusal, every good one is committed, once."""
    with store_in(tmp_path) as store:
        service = service_of(store, tmp_path)
        asked: list[Request[Any] | UsageError] = []
        for i, bad in enumerate(_BAD_REQUESTS):
            good = save_request(1, f"good{i}")
            asked += [good, _as_it_comes(bad), Record([event(f"good{i}", kind="unknown")])]
        carried_out = iter(service.write([one for one in asked if isinstance(one, Request)]))
        answers = [next(carried_out) if isinstance(one, Request) else one for one in asked]
        assert not [a for a in answers[0::3] + answers[2::3] if isinstance(a, RollcallError)]
        unrefused = [
            r
            for r, a in zip(_BAD_REQUESTS, answers[1::3], strict=True)
            if not isinstance(a, (RefusedError, UsageError))
        ]
        assert unrefused == []
        assert count_references(store) == len(_BAD_REQUESTS)
        assert len(sightings(store)) == len(_BAD_REQUESTS) == len(service.new_sightings)
        assert store_faults(store) == []


@pytest.mark.parametrize(
    ("op", "arguments"),
    [
        ("events", {"limit": "many"}),
        ("events", {"after_id": None}),
        ("events", {"since": ["x"]}),
        ("is_marked", {}),
        ("is_marked", {"person": 7}),
        ("cosine", {"id": {}}),
        ("references", {"person": {}}),
        ("people", {"limit": "x"}),
        ("no_such_operation", {}),
    ],
)
def test_a_bad_question_gets_an_answer(tmp_path: Path, op: str, arguments: dict[str, Any]) -> None:
    """Arguments of the wrong kind are the asker's fault, and never the writer's end."""
    with store_in(tmp_path) as store, pytest.raises((UsageError, RefusedError)):
        service_of(store, tmp_path).read(request(op, **arguments))


def test_what_is_no_request_is_refused() -> None:
    """An operation that is no text, arguments that are no object."""
    for op, arguments in (([], {}), ("save", [])):
        with pytest.raises(UsageError):
            request_of({"op": op, "arguments": arguments}, b"")


def test_a_fault_of_the_disk_is_everybodys_answer(tmp_path: Path) -> None:
    """A commit that fails: every request of the group is told so, and nothing is written or told to followers."""
    with store_in(tmp_path) as store:
        keep(store, vectors(1), NewReference("Ada"))
    path = tmp_path / "face_embeddings.db"

    def group(store: Any) -> None:
        service = service_of(store, tmp_path)
        answers = service.write(
            [
                save_request(1, "Bo"),
                save_request(1, "Ada"),
                request("stage", vectors(1).tobytes(), ids=[1 << 70], changes=[1], fingerprint="f"),
                Record([event("k1", "Ada")]),
            ]
        )
        faults = [
            answer for answer in answers if isinstance(answer, RollcallError) and not isinstance(answer, UsageError)
        ]
        if faults:
            assert len(faults) == len(answers)
            assert service.new_sightings == []
            raise faults[0]

    failures, after = fail_everywhere(path, FailingConnection, group)
    assert failures > 15
    assert len(after["embeddings"]) == 3
    assert len(after["sightings"]) == 1


def test_a_switch_waits_for_who_was_enrolled_meanwhile(tmp_path: Path) -> None:
    """References enrolled, changed or deleted since their photos were read: what was staged of the old ones does not count, the
    switch names who is missing and changes nothing; with everybody staged it is one step, each reference under a new change number."""
    with store_in(tmp_path) as store:
        service = service_of(store, tmp_path)
        service.write([save_request(1, f"p{i}", image_path=f"{i}.jpg") for i in range(4)])
        read = list_references(store)
        (changed, gone, added) = service.write(
            [
                save_request(1, "p1", image_path="1.jpg"),
                Forget("p2"),
                save_request(1, "p9", image_path="9.jpg"),
            ]
        )
        assert not [one for one in (changed, gone, added) if isinstance(one, RollcallError)]
        switch = SwitchModel(ModelId.parse("dlib/dlib", "f" * 64, 8), [])

        def staged(references: list[Reference]) -> Staged:
            ids, changes = [one.id for one in references], [one.change_number or 0 for one in references]
            return service.ask(Stage(ids, changes, "f" * 64, vectors=vectors(len(ids), 8)))

        assert staged(read) == Staged(staged=2)
        before, number = everything(store.path), store.change_number
        assert service.ask(switch) == Switched(switched=False, not_staged=[2, 5])
        assert everything(store.path) == before
        assert staged([one for one in list_references(store) if one.id in (2, 5)]) == Staged(staged=2)
        assert service.ask(switch) == Switched(switched=True, references=4, left_out=0)
        assert (store.dim, store.model, store.fingerprint) == (8, "dlib/dlib", "f" * 64)
        assert {one.change_number for one in list_references(store)} == {store.change_number}
        assert store.change_number > number
        assert store_faults(store) == []
