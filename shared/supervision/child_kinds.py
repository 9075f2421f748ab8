"""The kinds of children that a supervisor starts, as a table. All differences between kinds are here and nowhere else.

To add a kind of process, write its module in `workers` and its entry here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from shared.settings.engine_sharing import shares_engine, task_of, with_sharing_decided
from shared.settings.schema import Settings
from shared.status import CameraStatus, ChildStatus, InferenceStatus, SyncStatus, WriterStatus

# How long a child may take to stop. A camera sends its last sightings in this time. The writer brings all that it was sent to the disk.
_CAMERA_STOP_S = 8.0
_WRITER_STOP_S = 60.0
_PREPARE_STOP_S = 10.0
_INFERENCE_STOP_S = 5.0  # what it does then is for cameras that have stopped
_SYNC_STOP_S = 5.0  # it waits for nothing: what is under way is done again
_WEB_STOP_S = 5.0  # answers that are being sent get two seconds
_BACKEND_STOP_S = 10.0  # the same, and then it gives back what it holds in the database


@dataclass(frozen=True)
class RunOptions:
    """Options of `run` that its children need."""

    assume_model: bool = False


@dataclass(frozen=True)
class ChildKind:
    """One kind of child.

    `name`: its module in `workers`; `python -m workers NAME` starts it.
    `needs`: kinds that have to be ready before it starts. Without them the site can't begin.
    `ends`: whether it does its work and ends. Other kinds run until they are stopped.
    `stop_turn`: kinds stop in the order of this number; kinds with the same number stop together.
    `stop_grace_s`: how many seconds a child may take to stop.
    `names`: the names of its children under given settings.
    `sections`: those of the settings that are about one process, and that a child needs.
    `task`: what a child gets in place of settings, if it does not need them whole.
    `variables`: the names of the variables whose values a child needs; they may be secrets.
    `status`: the type of what a child reports of itself.
    `restarts_with`: if a reload changes this value, the child is restarted.
    `arguments`: of the child's command line.
    `gives_up`: whether a child stays down after it ended with exit code 0, or because of its settings.
    `overwrites`: whether its memory is overwritten when it is freed, because it runs for long and handles people's data. In cameras
    this costs 8 % of their work, because frames of 2.7 MB are overwritten, too. What `forget` promises is worth that.
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
    sections: tuple[str, ...] = ()
    task: Callable[[Settings, str], Mapping[str, Any]] | None = None
    variables: Callable[[Settings, str], Collection[str]] = lambda _, __: ()
    restarts_with: Callable[[Settings, str], object] = lambda _, __: None
    arguments: Callable[[str, RunOptions], tuple[str, ...]] = lambda _, __: ()

    def told(self, settings: Settings, name: str) -> Mapping[str, Any]:
        """What the child `name` is told on standard input. Of passwords it has only those that this child needs."""
        if self.task is not None:
            return self.task(settings, name)
        return with_sharing_decided(settings).for_child(self.sections).to_json()


PREPARE = ChildKind(
    "prepare",
    stop_turn=0,
    stop_grace_s=_PREPARE_STOP_S,
    names=lambda _: ("prepare",),
    ends=True,
    overwrites=False,  # it ends soon, and its memory with it
    arguments=lambda _, options: ("--assume-model",) if options.assume_model else (),
)
WRITER = ChildKind(
    "writer",
    stop_turn=9,
    stop_grace_s=_WRITER_STOP_S,
    names=lambda _: ("writer",),
    needs=("prepare",),
    status=WriterStatus,
    sections=("sync",),  # the key with which it hashes who is forgotten
    restarts_with=lambda settings, _: settings.sync.key_file,
    # Without a writer nothing is kept. What stopped it may pass, whatever the exit code was: a disk can be read-only for an hour.
    gives_up=False,
)
INFERENCE = ChildKind(
    "inference",
    stop_turn=2,
    stop_grace_s=_INFERENCE_STOP_S,
    names=lambda settings: ("inference",) if settings.enabled_cameras() and shares_engine(settings) else (),
    needs=("writer",),
    status=InferenceStatus,
    restarts_with=lambda settings, _: (settings.models_dir, settings.recognition.device),
)
CAMERA = ChildKind(
    "camera",
    stop_turn=1,
    stop_grace_s=_CAMERA_STOP_S,
    names=lambda settings: settings.enabled_cameras(),
    needs=("writer",),
    status=CameraStatus,
    task=lambda settings, name: task_of(settings, name).to_json(),
    variables=lambda settings, name: settings.variables(name),
    restarts_with=lambda settings, name: (
        settings.models_dir,
        settings.recognition.device,
        shares_engine(settings),
        settings.camera(name),
    ),
    arguments=lambda name, _: ("--camera", name),
)
SYNC = ChildKind(
    "mongodb_sync",
    stop_turn=3,
    stop_grace_s=_SYNC_STOP_S,
    names=lambda settings: ("sync",) if settings.sync.enabled else (),
    needs=("writer",),
    status=SyncStatus,
    sections=("sync",),
    restarts_with=lambda settings, _: settings.sync,
)
WEB = ChildKind(
    "web",
    stop_turn=4,
    stop_grace_s=_WEB_STOP_S,
    names=lambda settings: ("web",) if settings.web.enabled else (),
    needs=("writer",),
    sections=("web",),
    restarts_with=lambda settings, _: settings.web,
)
BACKEND = ChildKind(
    "backend",
    stop_turn=5,
    stop_grace_s=_BACKEND_STOP_S,
    names=lambda settings: ("backend",) if settings.backend.enabled else (),
    sections=("backend",),
    variables=lambda settings, _: settings.backend_variables(),
    restarts_with=lambda settings, _: settings.backend,
)
# In the order of their start: each kind comes after those that it needs.
KINDS = (PREPARE, WRITER, INFERENCE, CAMERA, SYNC, WEB, BACKEND)


def is_needed(kind: ChildKind) -> bool:
    """Whether another kind needs this one."""
    return any(kind.name in other.needs for other in KINDS)
