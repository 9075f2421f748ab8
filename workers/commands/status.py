"""`status`: shows the state of the running site, its gallery and its cameras."""

from __future__ import annotations

import argparse

from shared.errors import EXIT_DONE, EXIT_REFUSED
from shared.ipc.client import SiteClient, site_is_running
from shared.ipc.requests.site import Status
from shared.status import CameraStatus, ChildState, InferenceStatus, SiteSnapshot, SyncStatus
from workers.commands.context import Context
from workers.commands.output import say, say_json

HELP = "how the running site is doing"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None of its own."""


def run(context: Context, arguments: argparse.Namespace) -> int:
    settings = context.settings
    if not site_is_running(settings.run_dir):
        if context.as_json:
            say_json({"running": False})
        else:
            say(f"no site runs on {settings.data_dir}")
        return EXIT_REFUSED
    client = SiteClient(settings.run_dir)
    status = client.ask(Status())
    client.close()
    site, gallery = status.site, status.gallery
    if context.as_json:
        say_json({"running": True, **(site.to_json() if site else {}), "gallery": gallery.to_json()})
        return EXIT_DONE
    cameras = dict(sorted(site.cameras.items())) if site else {}
    name, uptime_s = (site.site, site.uptime_s) if site else ("?", 0.0)
    say(
        f"site {name}: running for {uptime_s:.0f} s; "
        f"{sum(camera.up for camera in cameras.values())} of {len(cameras)} cameras up; "
        f"{_or_unknown(gallery.people)} people, {_or_unknown(gallery.references)} references"
        f"{f' ({gallery.set_aside} set aside)' if gallery.set_aside else ''}, "
        f"model {_or_unknown(gallery.model)}, generation {gallery.generation}{', NOT ALL LIVE' if gallery.behind else ''}"
    )
    if gallery.nothing_stored:
        say(f"NOTHING CAN BE STORED: {gallery.nothing_stored}")
    if gallery.damaged_rows:
        from shared.store.unsound_rows import aside_line  # imports numpy, which is needed only here

        say(f"DAMAGED ROWS: {aside_line(gallery.damaged_rows)}")
    if gallery.unreadable_sightings:
        say(f"UNREADABLE SIGHTINGS: {gallery.unreadable_sightings} stored sightings can't be read and are passed over")
    if gallery.crops:
        say(f"pictures of sightings: {gallery.crops}, {(gallery.crop_bytes or 0) / 1e6:.1f} MB")
    for name, camera in cameras.items():
        say(camera_line(name, camera))
    for line in settings_lines(site) if site else ():
        say(line)
    inference = site.processes.get("inference") if site else None
    if isinstance(inference, InferenceStatus):
        say(inference_line(inference))
    sync = site.processes.get("sync") if site else None
    if isinstance(sync, SyncStatus):
        say(sync_line(sync))
    return EXIT_DONE


def _or_unknown(fact: str | int | None) -> str:
    """A fact about the gallery as text. "?" for None: there is none yet, or the database is too damaged to read it."""
    return "?" if fact is None else str(fact)


def settings_lines(site: SiteSnapshot) -> list[str]:
    """What of the settings file is not in force, and why."""
    refused = [f"the last reload was refused: {line}" for line in site.reload_faults]
    waiting = [f"in force after a restart of the site: {', '.join(site.awaits_restart)}"] if site.awaits_restart else []
    return refused + waiting


def camera_line(name: str, camera: CameraStatus) -> str:
    """One camera as a line to read: its state, if it is down since when and why, a fault of its picture, and its figures."""
    figures = [
        ("", camera.source),
        ("frames/s", camera.frames_per_s),
        ("faces/s", camera.faces_per_s),
        ("age p50 ms", camera.age_p50_ms),
        ("age p95 ms", camera.age_p95_ms),
        ("tracks", camera.tracks),
        ("decoding", camera.decoding),
        ("on", camera.decode_device),
        ("models on", camera.runs_on),
        *((stage, _cost(camera, stage)) for stage in ("decode", "detect", "embed", "match")),
        ("threshold", None if camera.threshold is None else f"{camera.threshold:.3f} ({camera.threshold_from})"),
        ("dropped", camera.dropped),
        ("lost", camera.losses),
        ("unsent", camera.unsent),
        ("restarts", camera.restarts),
    ]
    shown = ", ".join(f"{word} {value}".strip() for word, value in figures if value is not None)
    why = f"since {camera.down_since}: {camera.down_reason or 'no picture yet'}; " if camera.is_down else ""
    but = f"BUT {camera.picture_fault}; " if camera.picture_fault else ""
    return f"{name:<16} {camera.word:<8} {why}{but}{shown}"


def _cost(camera: CameraStatus, stage: str) -> str | None:
    """What a stage of a camera's work costs, in words; None: it is not known."""
    took_ms, cores = getattr(camera, f"{stage}_ms"), getattr(camera, f"{stage}_cores")
    return None if took_ms is None or cores is None else f"{took_ms:.1f} ms {cores:.3f} core"


def inference_line(inference: InferenceStatus) -> str:
    """The process that runs the models for all cameras as a line to read."""
    facts = [
        ("", inference.model),
        ("on", inference.device),
        ("cameras", inference.cameras),
        ("searches/s", inference.searches_per_s),
        ("waited p95 ms", inference.waited_p95_ms),
        ("restarts", inference.restarts),
    ]
    shown = ", ".join(f"{word} {value}".strip() for word, value in facts if value is not None)
    ended = "" if inference.exit_code is None else f" (exit code {inference.exit_code})"
    fault = f"{inference.fault}; " if inference.fault else ""
    return f"  inference: {inference.state.value}{ended}: {fault}{shown}"


def sync_line(sync: SyncStatus) -> str:
    """The exchange with other sites as a line to read."""
    if sync.state is not ChildState.RUNNING:
        return f"  sync: {sync.state.value}"
    state = "up" if sync.up else f"DOWN since {sync.down_since}: {sync.down_reason}" if sync.down_reason else "starting"
    facts = [
        f"last exchange {sync.last_sync or 'never'}",
        f"sent {sync.sent}",
        f"received {sync.received}",
        f"sightings sent {sync.sightings_sent}",
    ]
    if sync.wire == "plain":
        facts.append("the server knows lists only: no deletions travel")
        if sync.unshown:
            facts.append(f"NOT SYNCED: its list does not have {sync.unshown} references")
    elif not sync.has_key:
        facts.append("no [sync] key_file: a person forgotten here is forgotten elsewhere by reference only")
    if sync.quarantined:
        facts.append(f"{sync.quarantined} in quarantine: {sync.quarantine}")
    if sync.unconfirmed:
        facts.append(f"deletions not confirmed by {sync.unconfirmed}")
    return f"  sync: {state}: " + ", ".join(facts)
