"""`backup FILE`: a copy of the gallery, complete alone, also while the site runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from shared.errors import EXIT_DONE, ConfigurationError, RefusedError
from shared.settings import find_config, load_settings
from shared.site_access import FilesOfSite, SiteAccess
from shared.store_opening import open_read_only
from workers.output import say, say_json, warn


def run(arguments: argparse.Namespace) -> int:
    settings = load_settings(find_config(arguments.config, arguments.beside))
    target = Path(arguments.file).expanduser().absolute()
    if target.exists():
        raise RefusedError(
            "the file exists already, and is left as it is", where=str(target), remedy="name another file"
        )
    if not target.parent.is_dir():
        raise RefusedError("no such folder", where=str(target.parent), remedy="make it first")
    with SiteAccess(settings, warn) as site:
        try:
            if isinstance(site, FilesOfSite):
                site.store.backup_to(target)
            else:
                store = open_read_only(settings.db_path)
                try:
                    store.backup_to(target)
                finally:
                    store.close()
        except OSError as error:
            raise ConfigurationError(
                "the backup can't be written",
                where=str(target),
                got=error.strerror or str(error),
                remedy="free some space, or name another place",
            ) from error
        info = site.call("info")
    if arguments.json:
        say_json({"backup": str(target), "references": info["references"], "size_bytes": target.stat().st_size})
    else:
        say(
            f"{target}: {info['references']} references of {info['people']} people. The photos in {settings.faces_dir} are not in it."
        )
    return EXIT_DONE
