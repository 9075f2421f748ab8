"""The process that runs before all others of a site and then ends.

It fetches a missing model, opens the database, creating or migrating it as needed, and, if nobody is enrolled, enrols
the photos in data/faces. It is a process of its own so that the supervisor never loads an engine.

`python -m workers.prepare --config site.toml`
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable
from typing import TypeVar

from shared.errors import EXIT_DONE
from shared.files.private_folder import make_private_folder
from shared.gallery.files import remove_left_behind
from shared.printing import names_are_withheld
from shared.process.worker import Worker
from shared.progress import progress_bar
from shared.service.access import FilesOfSite
from shared.settings.schema import Settings
from shared.status import ChildState, ChildStatus
from shared.store.references import count_references
from shared.supervision.child import Child, StopAsked, run_child
from shared.supervision.child_settings import settings_of
from workers.models.opening import open_engine
from workers.models.packs import ensure_pack
from workers.photos.enrolling import enrol_photos
from workers.photos.look_alikes import remark_lines
from workers.photos.naming import people_in
from workers.photos.same_model import require_same_model
from workers.recognition.engine import Engine

_MAX_REMARKS = 20
_T = TypeVar("_T")

_log = logging.getLogger("prepare")


def main(argv: list[str] | None = None) -> int:
    """Prepare the site. Returns the exit code; raises RollcallError when the site can't start."""
    parser = argparse.ArgumentParser(
        prog="python -m workers.prepare", description="Checks and fills; started by the supervisor."
    )
    parser.add_argument("--config")
    parser.add_argument("--settings-stdin", action="store_true")
    parser.add_argument("--assume-model", action="store_true")
    arguments = parser.parse_args(argv)
    settings = settings_of(arguments)
    child = Child("rollcall: prepare")
    child.on_stop(_stop_at_once)
    child.heartbeat(ChildStatus(ChildState.LOADING))
    make_private_folder(settings.data_dir)
    pack = ensure_pack(settings, child.progress)
    child.progress()
    _log.info("model %s/%s: %s", pack.engine, pack.name, pack.licence)
    worker = Worker(child.heartbeat)
    files = _done_by(worker, lambda: _open_files(settings))
    try:
        child.progress()
        engine = open_engine(
            settings.engine_choice, det_size=settings.recognition.det_size, threads=settings.recognition.threads
        )
        child.progress()
        require_same_model(files, engine, settings, assume=arguments.assume_model)
        child.progress()
        if count_references(files.store) == 0 and not files.store.read_only:
            fill(files, engine, settings, child)
    finally:
        _done_by(worker, files.close)
        worker.close()
    return EXIT_DONE


def _open_files(settings: Settings) -> FilesOfSite:
    """Open the store. Before that, remove the shared memory that a killed site left behind: opening may write a large file
    anew, which must fit into the systemd unit's memory limit."""

    def sweep() -> None:
        if left := remove_left_behind(settings.run_dir):
            _log.warning("removed %d shared-memory segments of a site that was killed", left)

    return FilesOfSite(settings, _log.warning, read_only_ok=True, before_opening=sweep)


def _done_by(worker: Worker, work: Callable[[], _T]) -> _T:
    """Run the store's work on the worker's thread, with heartbeats while it makes progress, as the writer does.

    A stop can't interrupt that thread, so it ends the process at once, like a kill. Nothing is lost by that.
    """
    try:
        return worker.run(work)
    except StopAsked:
        os._exit(EXIT_DONE)


def _stop_at_once() -> None:
    """Stop without waiting, for example for a download's next piece: every finished step is already whole on disk."""
    raise StopAsked


def fill(files: FilesOfSite, engine: Engine, settings: Settings, child: Child) -> None:
    """Enrol the photos in data/faces/<person>/ into an empty gallery. A photo that is refused is logged and skipped."""
    if not settings.faces_dir.is_dir():
        return
    found = people_in([settings.faces_dir])
    if not (found.pairs or found.refused):
        return
    _log.info("the database is empty: enrolling %d photos from %s", len(found.pairs), settings.faces_dir)
    with progress_bar("enrolling") as draw:

        def progress(done: int, count: int) -> None:
            draw(done, count)
            child.progress()

        report = enrol_photos(found, files, engine, settings, respect_marks=True, progress=progress)
    remarks = remark_lines(report.look_alikes, report.disagrees, _MAX_REMARKS)
    if names_are_withheld() and (report.refused or remarks):
        _log.warning(
            "%d photos were skipped and there are %d remarks; they name people, see: supervisor.py enrol %s",
            len(report.refused), len(remarks), settings.faces_dir,
        )  # fmt: skip  # one line of arguments
    else:
        for refused in report.refused:
            _log.warning("skipped %s: %s", refused["photo"], refused["reason"])
        for line in remarks:
            _log.warning("%s", line)
    for line in sorted(report.warnings):
        _log.warning("%s", line)
    _log.info("enrolled %d photos, skipped %d", len(report.enrolled), len(report.refused))


if __name__ == "__main__":
    sys.exit(run_child(main))
