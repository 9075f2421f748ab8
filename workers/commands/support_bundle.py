"""`support-bundle FILE`: what somebody who helps from afar has to know of the site, without faces, names and passwords."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from shared.errors import EXIT_DONE, RefusedError, RollcallError, disk_fault
from shared.ipc.client import SiteClient, site_is_running
from shared.ipc.requests.site import Status
from shared.process.versions import versions_here
from shared.service.access import SiteAccess
from shared.settings.schema import Settings
from shared.store.schema import SCHEMA_VERSION
from workers.commands import check
from workers.commands.context import Context
from workers.commands.models import model_documents
from workers.commands.output import say, say_json, warn
from workers.support.bundle import write_bundle
from workers.support.journal import recent_log
from workers.support.masking import Masking
from workers.support.settings_shown import secrets_of, settings_shown

HELP = "what somebody who helps has to know of the site, in a file without faces, names and passwords"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE")


def run(context: Context, arguments: argparse.Namespace) -> int:
    settings = context.settings
    target = Path(arguments.file).expanduser().absolute()
    if not target.parent.is_dir():
        raise RefusedError("no such folder", where=str(target.parent), remedy="make it first")
    masking = Masking(_names(settings), secrets_of(settings, os.environ))
    parts = {
        "versions": asdict(versions_here(SCHEMA_VERSION)),
        "settings": settings_shown(settings),
        "status": _status(settings),
        "models": model_documents(settings),
        "check": {"faults": list(_faults(settings))},
    }
    try:
        size_bytes = write_bundle(target, parts, recent_log(), masking)
    except FileExistsError:
        raise RefusedError(
            "the file exists already, and is left as it is", where=str(target), remedy="name another file"
        ) from None
    except OSError as error:
        raise disk_fault(error, target) from error
    if context.as_json:
        say_json({"bundle": str(target), "size_bytes": size_bytes})
    else:
        say(
            f"{target}: {size_bytes} bytes, without faces, names and passwords. Look through it before you give it away."
        )
    return EXIT_DONE


def _names(settings: Settings) -> list[str]:
    """Everybody's name. Raises RollcallError if they can't be read: without them nothing could be taken out."""
    if not site_is_running(settings.run_dir) and not settings.db_path.exists():
        return []
    with SiteAccess(settings, warn, read_only_ok=True) as gallery:
        return [one.person for one in gallery.people()]


def _status(settings: Settings) -> dict[str, Any] | None:
    if not site_is_running(settings.run_dir):
        return None
    client = SiteClient(settings.run_dir)
    try:
        return client.ask(Status()).to_json()
    finally:
        client.close()


def _faults(settings: Settings) -> Iterable[str]:
    """What `check` finds. The cameras of a running site are left out: their state is in the status, with the reason."""
    try:
        yield from check.model_faults(settings)
        yield from check.database_faults(settings)
        if not site_is_running(settings.run_dir):
            yield from check.camera_faults(settings)
    except RollcallError as error:
        yield error.line()
