"""`backend`: runs the hub in the foreground, and makes and takes back the tokens of sites."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from setproctitle import setproctitle

from shared.errors import EXIT_DONE, RefusedError
from shared.process.program import PROGRAM_DIR
from shared.settings.file import parse_settings
from shared.settings.schema import Settings
from workers.commands.context import Context, common_options
from workers.commands.output import say, say_json
from workers.serving.libraries import require_libraries

if TYPE_CHECKING:
    from workers.hub.database import Database

HELP = "the hub: the API in front of MongoDB that sites sync with, and the tokens of sites"

_VARIABLE = "MONGODB_URI"
T = TypeVar("T")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    _add_uri(parser)
    parser.add_argument("--host", default=argparse.SUPPRESS, help="address to listen on; default: [backend] host")
    parser.add_argument(
        "--port", type=int, default=argparse.SUPPRESS, help="port to listen on; default: [backend] port"
    )
    words = parser.add_subparsers(dest="word", metavar="WORD")
    token = words.add_parser("token", help="the tokens of sites", parents=[common_options()], allow_abbrev=False)
    what = token.add_subparsers(dest="what", metavar="WHAT", required=True)
    create = what.add_parser("create", help="make one, and print it", parents=[common_options()], allow_abbrev=False)
    create.add_argument("site", metavar="SITE")
    listed = what.add_parser("list", help="which there are", parents=[common_options()], allow_abbrev=False)
    revoke = what.add_parser("revoke", help="take a site's back", parents=[common_options()], allow_abbrev=False)
    revoke.add_argument("site", metavar="SITE")
    revoke.add_argument("--id", metavar="ID", help="only this one of the site's")
    for one in (create, listed, revoke):
        _add_uri(one)


def _add_uri(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--mongodb-uri",
        metavar="URI",
        default=argparse.SUPPRESS,
        help=f"the database; better in the environment, as ${_VARIABLE}: other users see the words of a command",
    )


def run(context: Context, arguments: argparse.Namespace) -> int:
    if getattr(arguments, "mongodb_uri", None) is not None:
        setproctitle("rollcall: backend")  # takes the address, with its password, out of what `ps` shows
    require_libraries("the backend is asked for", "backend")
    settings, uri = _settings_of(context, arguments)
    if arguments.word is None:
        return _serve(settings, uri)
    work = {"create": _create, "list": _list, "revoke": _revoke}[arguments.what]
    return work(context, settings, uri, arguments)


def _settings_of(context: Context, arguments: argparse.Namespace) -> tuple[Settings, str]:
    """The settings with what was typed, in which the address is a variable; and the address."""
    settings = context.settings
    typed = {name: getattr(arguments, name) for name in ("host", "port") if hasattr(arguments, name)}
    given = settings.backend.model_dump() | {"enabled": True} | typed
    uri = getattr(arguments, "mongodb_uri", None)
    if uri is not None:
        given["mongodb_uri"] = uri
    # Checked as in a file, so that the faults are the same ones.
    backend = parse_settings({"backend": given}, settings.path, environ={}).backend
    settings = replace(settings, backend=backend)
    address = settings.mongodb_uri()
    return replace(settings, backend=backend.model_copy(update={"mongodb_uri": f"${{{_VARIABLE}}}"})), address


def _serve(settings: Settings, uri: str) -> int:
    """Become the backend process. The address goes into its environment, the settings to its standard input."""
    with tempfile.TemporaryFile() as file:
        file.write(json.dumps(settings.for_child(sections=("backend",)).to_json()).encode() + b"\n")
        file.flush()
        os.lseek(file.fileno(), 0, os.SEEK_SET)
        os.dup2(file.fileno(), 0)
    path = os.pathsep.join(filter(None, [str(PROGRAM_DIR), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, _VARIABLE: uri, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, "-m", "workers", "backend", "--settings-stdin"], environment)  # noqa: S606  # no shell is wanted


def _with_database(settings: Settings, uri: str, work: Callable[[Database], Awaitable[T]]) -> T:
    """Do something with the database. Raises ConfigurationError or TemporaryError."""
    from workers.hub.database import Database

    async def do() -> T:
        database = Database(uri, f"{settings.path or 'settings'}: [backend] mongodb_uri")
        try:
            await database.prepare()
            async with database.explained():
                return await work(database)
        finally:
            await database.close()

    return asyncio.run(do())


def _create(context: Context, settings: Settings, uri: str, arguments: argparse.Namespace) -> int:
    from workers.hub.tokens import create, site_name

    site = site_name(arguments.site)
    made, shown = _with_database(settings, uri, lambda database: create(database.tokens, site))
    if context.as_json:
        say_json({"token": shown, "id": made.id, "site": made.site, "created_at": made.created_at})
        return EXIT_DONE
    say(f"{made.site}: token {made.id}; put this into the site's token_file, it is shown this once:")
    say(shown)
    return EXIT_DONE


def _list(context: Context, settings: Settings, uri: str, _: argparse.Namespace) -> int:
    from workers.hub.tokens import listed

    found = _with_database(settings, uri, lambda database: listed(database.tokens))
    if context.as_json:
        say_json({"tokens": [one._asdict() for one in found]})
        return EXIT_DONE
    for one in found:
        say(f"{one.id}  {one.site}  since {one.created_at[:10]}")
    if not found:
        say("none; type: python supervisor.py backend token create SITE")
    return EXIT_DONE


def _revoke(context: Context, settings: Settings, uri: str, arguments: argparse.Namespace) -> int:
    from workers.hub.tokens import revoke

    count = _with_database(settings, uri, lambda database: revoke(database.tokens, arguments.site, arguments.id))
    if not count:
        raise RefusedError(
            "no such token", where=arguments.id or arguments.site, remedy="see: supervisor.py backend token list"
        )
    if context.as_json:
        say_json({"revoked": count})
    else:
        say(f"{arguments.site}: {count} taken back; each is over within five seconds")
    return EXIT_DONE
