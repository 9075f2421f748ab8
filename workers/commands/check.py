"""`check`: finds every fault in configuration, models, database and cameras, and prints one line for each."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from shared.errors import EXIT_CONFIGURATION, EXIT_DONE, EXIT_REFUSED, ConfigurationError, FaultList, RollcallError
from shared.gallery.tail import Tail
from shared.ipc.client import SiteClient, site_is_running
from shared.ipc.requests.site import Status
from shared.service.access import SiteAccess
from shared.settings.schema import Settings
from shared.settings.sources import SourceKind
from shared.status import CameraStatus
from shared.store.opening import damage_of
from workers.capture.capture import Capture, CaptureState, Frame
from workers.capture.picture_watch import why_empty
from workers.commands.context import Context
from workers.commands.output import say, say_json, warn
from workers.models.opening import engine_class, open_engine
from workers.models.packs import ensure_pack
from workers.pipeline.risky_settings import risks_of
from workers.recognition.devices import runtime_fault
from workers.recognition.liveness import LICENCE, open_liveness
from workers.recognition.pack import ENGINE
from workers.recognition.working_point import limits

_CAMERA_TIMEOUT_S = 10.0
_CAMERAS_AT_ONCE = 8
_MAX_EMPTY = 8  # so many pictures in a row have to be empty before it is a fault
_FRAME_TIMEOUT_S = 1.0
HELP = "find every fault in configuration, models, database and cameras"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None of its own."""


def run(context: Context, arguments: argparse.Namespace) -> int:
    path = context.settings_path
    try:
        if path is None:
            raise ConfigurationError(
                "there is no site.toml yet", where="check", remedy="type: python supervisor.py init"
            )
        settings = context.settings
    except RollcallError as error:
        faults = [fault.line() for fault in error.faults] if isinstance(error, FaultList) else [error.line()]
        return _report(faults, EXIT_CONFIGURATION, as_json=context.as_json)
    found = [fault for part in (model_faults, database_faults, camera_faults) for fault in part(settings)]
    return _report(found, EXIT_REFUSED, as_json=context.as_json)


def _report(faults: list[str], code: int, *, as_json: bool) -> int:
    if as_json:
        say_json({"faults": faults})
    else:
        for fault in faults:
            say(fault)
        if not faults:
            say("no faults found")
    return code if faults else EXIT_DONE


def model_faults(settings: Settings) -> Iterator[str]:
    """The faults of the models, one line each. Warns of licences and of risky settings."""
    if settings.recognition.engine == ENGINE and (several := runtime_fault()) is not None:
        yield several.line()
    try:
        pack = ensure_pack(settings)
        warn(f"model {pack.engine}/{pack.name}: {pack.licence}")
        _warn_of_risks(settings)
    except RollcallError as error:
        yield error.line()
    yield from _liveness_faults(settings)


def _warn_of_risks(settings: Settings) -> None:
    """Warn of settings that are likely to name strangers, or that name nobody. They are allowed, since tests and trials need them."""
    engine = open_engine(settings.engine_choice, det_size=settings.recognition.det_size, threads=1)
    tail = _tail(settings, engine.fingerprint)
    for camera in (settings.camera(name) for name in settings.enabled_cameras()):
        given = camera.strangers_named, camera.threshold, camera.margin
        for line in risks_of(camera, engine.threshold, None if tail is None else limits(engine, tail, *given)):
            warn(f"{settings.path}: camera {camera.name}: {line}")


def _tail(settings: Settings, fingerprint: str) -> Tail | None:
    """How alike the people of the gallery are. None without a gallery of this model, or if it can't be read: `database_faults` says why."""
    try:
        if not site_is_running(settings.run_dir) and (not settings.db_path.exists() or damage_of(settings.db_path)):
            return None
        with SiteAccess(settings, warn, read_only_ok=True) as gallery:
            return gallery.tail() if gallery.info().fingerprint == fingerprint else None
    except RollcallError:
        return None


def _liveness_faults(settings: Settings) -> Iterator[str]:
    """The fault of the liveness model, if there is one. Only the first camera that uses it is checked: all share one file."""
    cameras = [settings.camera(name) for name in settings.enabled_cameras()]
    camera = next((camera for camera in cameras if camera.liveness != "off"), None)
    if camera is None:
        return
    try:
        open_liveness(
            settings.models_dir, camera.liveness, threads=1, points=engine_class(settings.engine_choice).points
        )
        warn(f"liveness: {LICENCE}")
    except RollcallError as error:
        yield error.line()


def database_faults(settings: Settings) -> Iterator[str]:
    """The faults of the database and of the block, one line each."""
    try:
        if not site_is_running(settings.run_dir):
            if not settings.db_path.exists():
                return
            damage = damage_of(settings.db_path)
            if damage:
                yield f"{settings.db_path}: {damage}; remedy: start the site, which sets it aside and runs from backup or photos, or restore a backup"
                return
        with SiteAccess(settings, warn, read_only_ok=True) as gallery:
            yield from gallery.check()
    except RollcallError as error:
        yield error.line()


def camera_faults(settings: Settings) -> list[str]:
    """The faults of the cameras. Every enabled camera is opened and has to give one frame."""
    names = settings.enabled_cameras()
    if not names:
        return [f"{settings.path}: no camera is enabled; remedy: add a section like [cameras.entrance]"]
    try:
        known = _running_cameras(settings)
    except RollcallError as error:
        return [error.line()]
    with ThreadPoolExecutor(_CAMERAS_AT_ONCE) as pool:
        faults = pool.map(lambda name: _camera_fault(settings, name, known.get(name)), names)
        return [fault for fault in faults if fault]


def _running_cameras(settings: Settings) -> Mapping[str, CameraStatus]:
    """The status of each camera of a running site, by name; empty when no site runs."""
    if not site_is_running(settings.run_dir):
        return {}
    client = SiteClient(settings.run_dir)
    try:
        site = client.ask(Status()).site
    finally:
        client.close()
    return {} if site is None else site.cameras


def _camera_fault(settings: Settings, name: str, known: CameraStatus | None) -> str | None:
    """The camera's fault in words, or None. `known`: its status in the running site, or None.

    A camera that the site already uses is not opened a second time: some cameras take few viewers, or few logins.
    """
    camera = settings.camera(name)
    where = f"{settings.path}: [cameras.{name}] source"
    try:
        source = settings.source_of(name)
    except RollcallError as error:
        return error.line()
    if source.kind is SourceKind.STREAM and source.reached.tls == "insecure":
        warn(
            f'{settings.path}: [cameras.{name}] tls = "insecure": any program that answers at its address gets its password'
        )
    if known is not None and known.source == source.shown and (known.up or known.is_down):
        why = f"down since {known.down_since}: {known.down_reason or 'no picture yet'}"
        if not known.up:
            return _no_picture(where, why)
        return _bad_picture(where, known.picture_fault) if known.picture_fault else None
    capture = Capture(source, fps=camera.fps, realtime=True, loop=False)
    capture.start()
    try:
        frame = capture.next_frame(_CAMERA_TIMEOUT_S)
        if frame is not None:
            empty = None if source.is_file else _why_empty(frame, capture)
            return _bad_picture(where, f"the picture is {empty}") if empty else None
        status = capture.status()
    finally:
        capture.stop()
    nothing = "it has no frames" if status.state is CaptureState.ENDED else f"no frame within {_CAMERA_TIMEOUT_S:.0f} s"
    reason = status.reason or f"{source.shown}: {nothing}"
    return _no_picture(where, reason)


def _why_empty(frame: Frame, capture: Capture) -> str | None:
    """What an empty picture shows, in words; None: not empty. Several pictures have to be empty, since some cameras give a few
    empty ones while they adjust to the light."""
    empty = why_empty(frame.image)
    for _ in range(_MAX_EMPTY - 1):
        if empty is None:
            break
        later = capture.next_frame(_FRAME_TIMEOUT_S)
        empty = why_empty(later.image) if later is not None else empty
    return empty


def _bad_picture(where: str, fault: str) -> str:
    return f"{where}: {fault}; remedy: look at the camera; a dark picture may be right at night"


def _no_picture(where: str, reason: str) -> str:
    fault = ConfigurationError(
        "the camera gives no picture",
        where=where,
        got=reason,
        expected="frames",
        remedy="check its power, address and password; a file: its path",
    )
    return fault.line()
