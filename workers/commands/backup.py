"""`backup FILE`: copies the gallery into one file that holds all of it, also while the site runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from shared.errors import EXIT_DONE, RefusedError, disk_fault
from shared.service.access import SiteAccess
from shared.store.opening import open_read_only
from shared.store.references import count_people, count_references
from workers.commands.context import Context
from workers.commands.output import counted, say, say_json, warn

HELP = "copy the gallery into a file"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE")


def run(context: Context, arguments: argparse.Namespace) -> int:
    settings = context.settings
    target = Path(arguments.file).expanduser().absolute()
    if target.exists():
        raise RefusedError(
            "the file exists already, and is left as it is", where=str(target), remedy="name another file"
        )
    if not target.parent.is_dir():
        raise RefusedError("no such folder", where=str(target.parent), remedy="make it first")
    with SiteAccess(settings, warn, read_only_ok=True) as gallery:
        try:
            gallery.backup_to(target)
        except OSError as error:
            raise disk_fault(error, target) from error
    made = open_read_only(target)
    try:
        references, people = count_references(made), count_people(made)
    finally:
        made.close()
    if context.as_json:
        say_json({"backup": str(target), "references": references, "size_bytes": target.stat().st_size})
    else:
        kept = f"{counted(references, 'reference')} of {counted(people, 'person', 'people')}"
        say(f"{target}: {kept}. The photos in {settings.faces_dir} are not in it.")
    return EXIT_DONE
