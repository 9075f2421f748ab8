"""What a reload stops, restarts and starts, from two settings alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shared.settings.file import parse_settings
from shared.settings.schema import Settings
from shared.supervision.child_kinds import CAMERA, KINDS, ChildKind, is_needed
from shared.supervision.reload import ReloadPlan, plan_reload

_BASE: dict[str, Any] = {"source": "rtsp://camera.example/1"}


def settings(cameras: dict[str, dict[str, Any]], **sections: dict[str, Any]) -> Settings:
    return parse_settings({"cameras": cameras, **sections}, Path("/site/site.toml"), environ={})


def test_nothing_changed_nothing_happens() -> None:
    """The same file again restarts nobody."""
    same = {"a": _BASE, "b": {**_BASE, "fps": 2}}
    assert plan_reload(settings(same), settings(same)) == ReloadPlan()


def test_each_camera_by_what_changed_of_it() -> None:
    """One is new, one is gone, one changed; the fourth goes on."""
    old = settings({"gone": _BASE, "changed": _BASE, "same": _BASE})
    fresh = settings({"changed": {**_BASE, "fps": 2}, "same": _BASE, "new": _BASE})
    assert plan_reload(old, fresh) == ReloadPlan(
        stop=(("camera", "gone"),), restart=(("camera", "changed"),), start=(("camera", "new"),)
    )


def test_disabled_is_gone_and_enabled_is_new() -> None:
    """`enabled` decides as the section itself would."""
    on, off = settings({"a": _BASE}), settings({"a": {**_BASE, "enabled": False}})
    assert plan_reload(on, off) == ReloadPlan(stop=(("camera", "a"),))
    assert plan_reload(off, on) == ReloadPlan(start=(("camera", "a"),))


@pytest.mark.parametrize(
    ("section", "restarted"),
    [({"fps": 3}, True), ({"models_dir": "other"}, True), ({"threshold": 0.5}, True), ({}, False)],
)
def test_what_all_cameras_share_restarts_those_that_use_it(section: dict[str, Any], restarted: bool) -> None:
    """[recognition] holds for a camera that says nothing else itself."""
    cameras = {"a": _BASE, "own": {**_BASE, "fps": 1, "threshold": 0.4}}
    plan = plan_reload(settings(cameras), settings(cameras, recognition=section))
    assert (("camera", "a") in plan.restart) is restarted
    assert (("camera", "own") in plan.restart) is ("models_dir" in section)


def test_the_writer_and_what_ended_are_never_touched() -> None:
    """Only cameras have settings that a reload may change."""
    plan = plan_reload(settings({}), settings({"a": _BASE}, site={"keep_sightings_days": 3}, recognition={"fps": 1}))
    assert plan == ReloadPlan(start=(("camera", "a"),))


def test_a_kind_of_which_nobody_knows_yet() -> None:
    """A further row in the table is all that a further process needs."""
    other_one = ChildKind(
        "notes",
        stop_turn=2,
        stop_grace_s=5.0,
        names=lambda one: ("notes",) if one.web.enabled else (),
        needs=("writer",),
        restarts_with=lambda one, _: one.web.port,
    )
    kinds = [*(kind for kind in KINDS if kind.name != "web"), other_one]
    off = settings({})
    on = settings({}, web={"enabled": True, "port": 1000})
    other = settings({}, web={"enabled": True, "port": 2000})
    assert plan_reload(off, on, kinds) == ReloadPlan(start=(("notes", "notes"),))
    assert plan_reload(on, other, kinds) == ReloadPlan(restart=(("notes", "notes"),))
    assert plan_reload(on, off, kinds) == ReloadPlan(stop=(("notes", "notes"),))


def test_the_key_of_the_exchange_is_the_writers_too() -> None:
    """Another key file starts the writer and the sync process again; another address the sync process only."""
    before = settings({}, sync={"enabled": True})
    key = settings({}, sync={"enabled": True, "key_file": "sync.key"})
    address = settings({}, sync={"enabled": True, "backend": "http://localhost:7000/api"})
    assert plan_reload(before, key) == ReloadPlan(restart=(("writer", "writer"), ("mongodb_sync", "sync")))
    assert plan_reload(before, address) == ReloadPlan(restart=(("mongodb_sync", "sync"),))


def test_the_table_is_sound() -> None:
    """Each kind stands behind what it needs, and stops before it; nothing needs a camera."""
    known: dict[str, ChildKind] = {}
    for kind in KINDS:
        assert set(kind.needs) <= set(known), kind.name
        assert all(known[name].ends or kind.stop_turn < known[name].stop_turn for name in kind.needs), kind.name
        known[kind.name] = kind
    assert [kind.name for kind in KINDS if is_needed(kind)] == ["prepare", "writer"]
    assert not is_needed(CAMERA)
