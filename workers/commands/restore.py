"""`restore FILE`: brings back the references of a backup, except those that were deleted since."""

from __future__ import annotations

import argparse
import sqlite3
from pathlib import Path

from shared.errors import EXIT_DONE, RefusedError, RollcallError, TemporaryError, disk_fault
from shared.files.private_folder import make_private_folder
from shared.ipc.requests.gallery import Restored
from shared.model_id import other_model
from shared.service.access import GalleryClient, SiteAccess
from shared.settings.schema import Settings
from shared.store.leftovers import staged_restore
from shared.store.migration import copy_of_backup
from shared.store.opening import damage_of, open_read_only
from shared.store.store import explain
from workers.commands.context import Context
from workers.commands.output import counted, say, say_json, warn

HELP = "take the gallery from a backup"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE")
    parser.add_argument(
        "--assume-model", action="store_true", help="if the backup does not record its model: assume the gallery's"
    )


def run(context: Context, arguments: argparse.Namespace) -> int:
    settings = context.settings
    source = Path(arguments.file).expanduser().absolute()
    if not source.is_file():
        raise RefusedError("no such file", where=str(source), remedy="name a file that `backup` wrote")
    damage = damage_of(source)
    if damage:
        raise RefusedError("is no backup", where=str(source), got=damage, remedy="name a file that `backup` wrote")
    make_private_folder(settings.data_dir)
    make_private_folder(settings.copies_dir)
    staged = staged_restore(settings.copies_dir)
    try:
        _stage(source, staged)
        answer = _restore(settings, staged, assume_model=arguments.assume_model)
    finally:
        for leftover in settings.copies_dir.glob(staged.name + "*"):
            leftover.unlink()
    if answer.warning:
        warn(answer.warning)
    if context.as_json:
        say_json({"restored": answer.restored, "kept_deleted": answer.kept_deleted, "set_aside": answer.set_aside})
    else:
        aside = f", {answer.set_aside} of them set aside" if answer.set_aside else ""
        say(
            f"restored {counted(answer.restored, 'reference')}{aside}; {answer.kept_deleted} were deleted here since, and stay deleted"
        )
    return EXIT_DONE


def _restore(settings: Settings, staged: Path, *, assume_model: bool) -> Restored:
    try:
        with SiteAccess(settings, warn, create=True) as gallery:
            _require_same_model(gallery, staged, assume=assume_model)
            return gallery.restore(staged)
    except RollcallError as error:
        if staged.exists():
            raise
        raise TemporaryError(
            "the backup's copy was taken away while it was restored: somebody was forgotten, or the site was restarted",
            where=str(staged),
            remedy="try again",
        ) from error


def _stage(source: Path, staged: Path) -> None:
    """Copy the backup to where the site may open it, and bring it to our schema. The original program's file works, too."""
    try:
        for note in copy_of_backup(source, staged):
            warn(note)
    except OSError as error:
        raise disk_fault(error, staged) from error
    except sqlite3.Error as error:
        raise explain(error, source) from error


def _require_same_model(gallery: GalleryClient, staged: Path, *, assume: bool) -> None:
    """Raise RefusedError when the backup has another model: its embeddings mean nothing to the cameras' engine."""
    backup = open_read_only(staged)
    try:
        model, dim = backup.model_id, backup.dim
    finally:
        backup.close()
    known = gallery.info().model_id
    if known is None or (model is not None and model.is_same(known)):
        return
    if model is None and assume and dim == known.dim:
        return
    raise other_model(
        RefusedError,
        "the backup was made with another model",
        where=staged.name,
        got=model,
        expected=known,
        remedy="if you are sure it is the same model: --assume-model"
        if model is None
        else f"supervisor.py models use {model.pack} first",
    )
