"""`sync`: one exchange with the backend, now."""

from __future__ import annotations

import argparse

from shared.errors import EXIT_DONE, EXIT_REFUSED, ConfigurationError
from shared.service.sync_key import make_sync_key
from workers.commands.context import Context
from workers.commands.output import counted, say, say_json
from workers.sync.once import exchange_once
from workers.sync.report import Report

HELP = "exchange with the backend now: what other sites have, and what they get"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--make-key", action="store_true", help="make the key that all sites share, [sync] key_file, and end"
    )


def run(context: Context, arguments: argparse.Namespace) -> int:
    settings = context.settings
    if arguments.make_key:
        path = settings.sync_path(settings.sync.key_file)
        if path is None:
            raise ConfigurationError(
                "the settings name no file for the key",
                where=f"{settings.path or 'site.toml'}: [sync] key_file",
                got="nothing",
                expected="a path",
                remedy='add key_file = "sync.key" below [sync]',
            )
        make_sync_key(path)
        if context.as_json:
            say_json({"key_file": str(path)})
        else:
            say(f"made {path}; copy it by hand to the other sites, and keep a copy: no hub has it")
        return EXIT_DONE
    report = exchange_once(settings)
    if context.as_json:
        say_json({"whole": report.is_whole, **report.to_json()})
    else:
        _show(report)
    return EXIT_DONE if report.is_whole else EXIT_REFUSED


def _show(report: Report) -> None:
    say(
        f"sent {report.sent} and {counted(report.sightings_sent, 'sighting')}, received {report.received}, of which {report.taken} were new "
        f"({report.requests} requests, {report.sent_bytes + report.received_bytes} bytes)"
    )
    for where, refused in (("here", report.refused_here), ("by the backend", report.refused_there)):
        for reason, count in refused.items():
            say(f"REFUSED {where}: {count} × {reason}")
    if report.unshown:
        say(
            f"NOT SYNCED: the server took what it was sent, but its list does not have {report.unshown} references of this site"
        )
