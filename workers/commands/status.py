"""`status`: how the running site does."""

from __future__ import annotations

import argparse
from typing import Any

from shared.errors import EXIT_DONE, EXIT_REFUSED
from shared.settings import find_config, load_settings
from shared.writer_client import SiteClient, site_is_running
from workers.output import say, say_json


def run(arguments: argparse.Namespace) -> int:
    settings = load_settings(find_config(arguments.config, arguments.beside))
    if not site_is_running(settings.run_dir):
        if arguments.json:
            say_json({"running": False})
        else:
            say(f"no site runs on {settings.data_dir}")
        return EXIT_REFUSED
    client = SiteClient(settings.run_dir)
    status = {"running": True, **client.call("status")["status"]}
    client.close()
    if arguments.json:
        say_json(status)
        return EXIT_DONE
    gallery = status["gallery"]
    say(
        f"site {status.get('site', '?')}: up {status.get('uptime_s', 0):.0f} s; {gallery['people']} people, {gallery['references']} references, "
        f"model {gallery['model']}, generation {gallery['generation']}{', NOT ALL LIVE' if gallery['behind'] else ''}"
    )
    for name, camera in sorted(status.get("cameras", {}).items()):
        say(_camera_line(name, camera))
    return EXIT_DONE


def _camera_line(name: str, camera: dict[str, Any]) -> str:
    shown = [f"{key} {value}" for key, value in camera.items() if key in _SHOWN and value is not None]
    return f"{name:<16} {camera['state']:<9} {', '.join(shown)}"


_SHOWN = (
    "source",
    "source_state",
    "frames_per_s",
    "faces_per_s",
    "age_ms_p50",
    "age_ms_p95",
    "tracks",
    "dropped",
    "restarts",
    "backlog",
)
