"""The command line of supervisor.py: its words, its options, and which module does each."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shared.errors import EXIT_BUG, EXIT_DONE, EXIT_USAGE, FaultList, RollcallError, disk_fault
from shared.process import early_signals
from shared.process.library_faults import imports_explained, library_fault
from workers.commands.output import say_json, warn

_COMMANDS: dict[str, str] = {
    "run": "run the site (the default)",
    "demo": "see it work: no camera, no configuration, no download",
    "init": "write a commented site.toml",
    "models": "what models are installed; install NAME|FOLDER|ZIP, use NAME",
    "check": "find every fault in configuration, models, database and cameras",
    "enrol": "enrol a photo, or a folder with a sub-folder per person",
    "forget": "remove every trace of a person, or one photo",
    "people": "who is enrolled",
    "identify": "who is in these photos",
    "events": "the sightings, past and as they come",
    "status": "how the running site does",
    "backup": "copy the gallery into a file",
    "restore": "take the gallery from a backup",
    "calibrate": "threshold and margin from the gallery's own photos, and which of them to look at",
}
_SITES = ("run", "demo")  # they take SIGHUP themselves


def build_parser() -> argparse.ArgumentParser:
    """The whole command line; every command takes --config, every one that prints takes --json."""
    common = _common_options()
    parser = argparse.ArgumentParser(
        prog="supervisor.py",
        description="Rollcall: who is in front of the site's cameras.",
        parents=[_common_options()],
        allow_abbrev=False,
    )
    words = parser.add_subparsers(dest="command", metavar="COMMAND")
    added = {
        name: words.add_parser(name, help=text, description=text, parents=[common], allow_abbrev=False)
        for name, text in _COMMANDS.items()
    }
    for target in (parser, added["run"]):
        _add_flag(target, "--until-ended", "stop once every file source has ended")
        _add_flag(
            target, "--quiet", "name nobody in what is printed and logged, as in systemd's journal; `events` does"
        )
        _add_flag(target, "--assume-model", "take an unstamped gallery as made by the configured model")
    added["demo"].add_argument("--seconds", type=_seconds, metavar="N", help="end after N seconds")
    added["demo"].add_argument("--sheet", metavar="PATH", help="where the contact sheet goes; default: the temp folder")
    models = added["models"].add_subparsers(dest="action", metavar="ACTION")
    models.add_parser(
        "install", help="fetch a pack, or take it from disk", parents=[common], allow_abbrev=False
    ).add_argument("source", metavar="NAME|FOLDER|ZIP")
    use = models.add_parser("use", help="embed the stored photos anew and switch", parents=[common], allow_abbrev=False)
    use.add_argument("name", metavar="NAME")
    use.add_argument(
        "--leave-out", action="store_true", help="switch although some references have no photo; they are set aside"
    )
    added["enrol"].add_argument("paths", nargs="*", metavar="PATH")
    added["enrol"].add_argument("--name", help="the person on these photos; default: named after file or sub-folder")
    added["enrol"].add_argument("--unknown", metavar="ID", help="no PATH: the pictures of this stranger, with --name")
    added["enrol"].add_argument("--user-id", help="the person's id in your own systems")
    _add_flag(added["enrol"], "--assume-model", "take an unstamped gallery as made by the configured model")
    added["forget"].add_argument("name", metavar="NAME", nargs="?")
    added["forget"].add_argument("--unknown", metavar="ID", help="no NAME: this stranger")
    added["forget"].add_argument("--photo", metavar="PATH", help="only this photo")
    _add_flag(added["people"], "--unknown", "who was seen and is not enrolled")
    added["identify"].add_argument("photos", nargs="+", metavar="PHOTO")
    _add_flag(added["identify"], "--assume-model", "take an unstamped gallery as made by the configured model")
    added["events"].add_argument("--follow", action="store_true", help="go on as they come")
    added["events"].add_argument("--since", metavar="T", help="ISO 8601 time, or an age like 90s, 10m, 2h, 3d")
    added["backup"].add_argument("file", metavar="FILE")
    added["restore"].add_argument("file", metavar="FILE")
    _add_flag(added["restore"], "--assume-model", "take an unstamped backup as made by the gallery's model")
    calibrate = added["calibrate"]
    calibrate.add_argument(
        "--fmr", type=_rate, default=0.001, metavar="RATE", help="share of strangers that may be named (0.001)"
    )
    calibrate.add_argument("--plot", metavar="FILE", help="draw the scores into FILE, as SVG")
    calibrate.add_argument("--all", action="store_true", help="ask every reference, however many")
    calibrate.add_argument("--apart", action="store_true", help="take no two names for one person")
    calibrate.add_argument("--write", action="store_true", help="put threshold and margin into site.toml")
    # Here only, and on options of the parser's own: a sub-command's default would undo what was said before its word.
    parser.set_defaults(config=None, json=False, quiet=False, until_ended=False, assume_model=False, unknown=None)
    return parser


def _common_options() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--config",
        metavar="FILE",
        default=argparse.SUPPRESS,
        help="site.toml; default: $ROLLCALL_CONFIG, ./site.toml, or the one beside supervisor.py",
    )
    _add_flag(common, "--json", "print JSON")
    return common


def _add_flag(parser: argparse.ArgumentParser, name: str, text: str) -> None:
    parser.add_argument(name, action="store_true", default=argparse.SUPPRESS, help=text)


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value <= 86400:
        raise argparse.ArgumentTypeError("seconds must lie between 0 and 86400")
    return value


def _rate(text: str) -> float:
    value = float(text)
    if not 1e-9 <= value <= 0.5:
        raise argparse.ArgumentTypeError("a rate must lie between 1e-9 and 0.5")
    return value


def main(argv: Sequence[str] | None, supervisor: type[Any], beside: Path) -> int:
    """Parse, carry out, and turn every fault into a line and an exit code. `supervisor`: the class that runs a site."""
    given = list(sys.argv[1:] if argv is None else argv)
    try:
        arguments = _parse(given)
    except SystemExit as stop:
        return EXIT_DONE if stop.code in (0, None) else EXIT_USAGE
    arguments.supervisor, arguments.beside = supervisor, beside
    if arguments.command not in _SITES:
        early_signals.let_go()
    try:
        with imports_explained():
            module = importlib.import_module(f"workers.commands.{arguments.command}")
        return int(module.run(arguments))
    except BrokenPipeError:
        # Whoever read our output has gone; what Python would still flush at exit must not raise again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_DONE
    except (RollcallError, OSError, ImportError) as error:
        return _report(_fault_of(error), as_json=arguments.json)
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # noqa: BLE001  # the outermost loop: a bug must end as 70, not as Python's 1
        import traceback

        traceback.print_exc()
        warn(f"this is a fault in Rollcall ({type(error).__name__}); please report the lines above")
        return EXIT_BUG


def _parse(given: list[str]) -> argparse.Namespace:
    """`run` may be left out, and options may stand before or after the command."""
    arguments = build_parser().parse_args(given)
    arguments.command = arguments.command or "run"
    return arguments


def _fault_of(error: RollcallError | OSError | ImportError) -> RollcallError:
    """ImportError: a module imports some libraries only when they are needed."""
    if isinstance(error, RollcallError):
        return error
    return disk_fault(error) if isinstance(error, OSError) else library_fault(error)


def _report(error: RollcallError, *, as_json: bool) -> int:
    faults = error.faults if isinstance(error, FaultList) else [error]
    for fault in faults:
        warn(fault.line())
    if as_json:
        say_json({"error": [fault.line() for fault in faults], "exit_code": error.exit_code}, line=True)
    return error.exit_code
