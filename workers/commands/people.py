"""`people`: who is enrolled."""

from __future__ import annotations

import argparse
from typing import Any

from shared.errors import EXIT_DONE
from shared.settings import find_config, load_settings
from shared.site_access import SiteAccess, all_people
from shared.writer_client import site_is_running
from workers.output import say, say_json, warn


def run(arguments: argparse.Namespace) -> int:
    settings = load_settings(find_config(arguments.config, arguments.beside))
    people: list[dict[str, Any]] = []
    if settings.db_path.exists() or site_is_running(settings.run_dir):
        with SiteAccess(settings, warn) as site:
            people = list(all_people(site))
    if arguments.json:
        say_json({"people": people})
        return EXIT_DONE
    for one in people:
        user_id = f"  ({one['user_id']})" if one["user_id"] else ""
        say(
            f"{one['person']}{user_id}  {one['references']} {'reference' if one['references'] == 1 else 'references'}, since {one['enrolled_at']}"
        )
    if not people:
        say("nobody is enrolled; type: python supervisor.py enrol FOLDER")
    return EXIT_DONE
