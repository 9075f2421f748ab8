"""Forgetting reaches strangers who are in view, and strangers who are the person forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from shared.ipc.requests.forgetting import Forget
from shared.ipc.requests.model import Stamp
from shared.ipc.requests.strangers import ForgetStranger
from shared.model_id import ModelId
from shared.records import NewReference
from shared.store.store import Store
from tests.component.test_strangers import faces, listed, pictures, service_of, tell
from tests.support.stores import keep, sightings, store_in
from tests.support.stranger_events import MODEL, near, seen, trace


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with store_in(tmp_path / "data") as opened:
        yield opened


def test_stranger_forgotten_in_view_does_not_come_back_with_the_old_pictures(store: Store) -> None:
    """The track's own `left` carries crops from before; the next track is a new stranger's."""
    service, (ann,) = service_of(store), faces(1)
    tell(service, seen("a", trace(ann)))
    service.ask(ForgetStranger("stranger-1"))
    assert tell(service, seen("b", trace(ann), kind="left")) == [None]
    assert (listed(service), pictures(store)) == ([], [])
    assert tell(service, seen("c", trace(ann), track=2)) == ["stranger-2"]


def test_track_numbers_of_a_camera_that_starts_anew_are_not_the_forgotten_ones(store: Store) -> None:
    """After `camera_up` track 1 is somebody else."""
    service, (ann,) = service_of(store), faces(1)
    tell(service, seen("a", trace(ann)))
    service.ask(ForgetStranger("stranger-1"))
    assert tell(service, seen("up", kind="camera_up"), seen("b", trace(ann))) == [None, "stranger-2"]


def test_forgetting_a_person_forgets_the_strangers_they_were(store: Store) -> None:
    """Seen twice before anybody enrolled them, and once in a way that gave a second id: embeddings, pictures and sightings go;
    somebody else's stay."""
    service, rng = service_of(store), np.random.default_rng(3)
    ann, ben = faces(2)
    service.ask(Stamp(ModelId.parse("insightface/small", MODEL, len(ann))))
    tell(service, seen("a", trace(near(rng, ann))), seen("b", trace(near(rng, ann)), track=2))
    tell(service, seen("c", trace(ben), track=3))
    assert len(listed(service)) == 2
    keep(store, ann[None], NewReference("Ada"))
    service.ask(Forget("Ada"))
    assert [one.id for one in listed(service)] == ["stranger-2"]
    assert len(pictures(store)) == 1
    assert [event.get("unknown") for event in sightings(store)] == ["stranger-2"]
    assert service.check() == []
