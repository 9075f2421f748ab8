"""The kinds of children that a supervisor starts, a row each. What differs between two kinds stands here and nowhere else.

To add a process: write its module in `workers`, and its row here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from shared.settings.schema import Settings
from shared.status import CameraStatus, ChildStatus, WriterStatus

# Cameras 8 s: the last sightings are sent meanwhile. The writer a minute: what it was sent is on the disk then.
_CAMERA_STOP_S = 8.0
_WRITER_STOP_S = 60.0
_PREPARE_STOP_S = 10.0


@dataclass(frozen=True)
class RunOptions:
    """What `run` was told that its children need to know."""

    assume_model: bool = False


@dataclass(frozen=True)
class ChildKind:
    """`name`: its module in `workers`; `python -m workers NAME` starts it.

    `needs`: kinds that come before it, at the start. One that others need is waited for, and without it the site can't begin.
    `ends`: it does its work and ends; others run until they are stopped.
    `stop_turn`: kinds stop in this order, those of one turn together; `stop_grace_s`: a child has so long to end.
    `names`: its children under these settings. `camera_of`: the camera whose source and passwords a child needs, if any.
    `status`: what it says of itself. `restarts_with`: a reload that changes this value restarts the child. `arguments`: of its command line.
    `gives_up`: whether a child that ended well, or for its settings, stays down.
    `overwrites`: it lives on and hears of people, so that its memory is overwritten when it is freed. In cameras that costs 8 % of
    their work, since pictures of 2.7 MB are overwritten too; what `forget` promises is worth that.
    """

    name: str
    stop_turn: int
    stop_grace_s: float
    names: Callable[[Settings], Collection[str]]
    needs: tuple[str, ...] = ()
    ends: bool = False
    gives_up: bool = True
    overwrites: bool = True
    status: type[ChildStatus] = ChildStatus
    camera_of: Callable[[str], str | None] = lambda _: None
    restarts_with: Callable[[Settings, str], object] = lambda _, __: None
    arguments: Callable[[str, RunOptions], tuple[str, ...]] = lambda _, __: ()


PREPARE = ChildKind(
    "prepare",
    stop_turn=0,
    stop_grace_s=_PREPARE_STOP_S,
    names=lambda _: ("prepare",),
    ends=True,
    overwrites=False,  # it ends, and what it held goes with it
    arguments=lambda _, options: ("--assume-model",) if options.assume_model else (),
)
WRITER = ChildKind(
    "writer",
    stop_turn=9,
    stop_grace_s=_WRITER_STOP_S,
    names=lambda _: ("writer",),
    needs=("prepare",),
    status=WriterStatus,
    # Without a writer nothing is kept. What stopped it may pass (a disk that is read-only for an hour), whatever its exit code.
    gives_up=False,
)
CAMERA = ChildKind(
    "camera",
    stop_turn=1,
    stop_grace_s=_CAMERA_STOP_S,
    names=lambda settings: settings.enabled_cameras(),
    needs=("writer",),
    status=CameraStatus,
    camera_of=lambda name: name,
    restarts_with=lambda settings, name: (settings.models_dir, settings.camera(name)),
    arguments=lambda name, _: ("--camera", name),
)
# In the order of their start: each stands behind what it needs.
KINDS = (PREPARE, WRITER, CAMERA)


def is_needed(kind: ChildKind) -> bool:
    """Whether other kinds wait for it."""
    return any(kind.name in other.needs for other in KINDS)
