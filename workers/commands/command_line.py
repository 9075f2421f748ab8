"""The command line of supervisor.py: finds the command, runs it, and turns every fault into one line and an exit code."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Protocol, cast

from shared.errors import EXIT_BUG, EXIT_DONE, EXIT_USAGE, FaultList, RollcallError, disk_fault
from shared.process import early_signals
from shared.process.library_faults import imports_explained, library_fault
from shared.supervision.variables import PARENT_VARIABLE
from workers.commands.context import Context, SupervisorClass, common_options
from workers.commands.output import say_json, warn

# In the order of --help. Each is a module beside this one ("-" is "_" there) with HELP, add_arguments(parser) and run(context, arguments).
COMMANDS = (
    "run",
    "demo",
    "init",
    "models",
    "check",
    "enrol",
    "forget",
    "people",
    "identify",
    "events",
    "wrong",
    "right",
    "status",
    "backup",
    "restore",
    "calibrate",
    "worklist",
    "web",
    "sync",
    "backend",
    "support-bundle",
)
_SITES = ("run", "demo")  # these run a site and handle its signals themselves


class Command(Protocol):
    """A command's module."""

    HELP: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, context: Context, arguments: argparse.Namespace) -> int:
        """Carry out the command. Returns the exit code. Raises RollcallError."""
        ...


def build_parser(wanted: Collection[str] = COMMANDS) -> argparse.ArgumentParser:
    """The parser. Only the `wanted` commands have their options; the others have only a name, since importing takes time."""
    parser = argparse.ArgumentParser(
        prog="supervisor.py", description="Rollcall: who is in front of the site's cameras.", allow_abbrev=False
    )
    parser.set_defaults(config=None, json=False)
    words = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name in COMMANDS:
        if name in wanted:
            command = _load(name)
            added = words.add_parser(
                name, help=command.HELP, description=command.HELP, parents=[common_options()], allow_abbrev=False
            )
            command.add_arguments(added)
        else:
            words.add_parser(name)
    return parser


def _load(name: str) -> Command:
    with imports_explained():
        return cast(Command, importlib.import_module(f"workers.commands.{name.replace('-', '_')}"))


def _ordered(given: Sequence[str]) -> list[str]:
    """The words with the command first. On the command line, options may come before it, and `run` may be left out."""
    is_value = False
    for place, word in enumerate(given):
        if word in ("-h", "--help"):
            break
        if not (is_value or word.startswith("-")):
            return [word, *given[:place], *given[place + 1 :]]
        is_value = word == "--config"
    else:
        return ["run", *given]
    return list(given)


def main(argv: Sequence[str] | None, supervisor: SupervisorClass, beside: Path) -> int:
    """Parse the words and run the command. Returns the exit code; every fault becomes one line on standard error.

    `argv`: None for the process's own. `supervisor`: the class that runs a site. `beside`: the folder of supervisor.py.
    """
    if PARENT_VARIABLE in os.environ:  # the web process runs this command
        from shared.supervision.child import die_with_parent  # with its library, whose absence is explained only later

        die_with_parent()
    words = _ordered(sys.argv[1:] if argv is None else argv)
    as_json = "--json" in words
    try:
        arguments = build_parser(words[:1] if words[0] in COMMANDS else COMMANDS).parse_args(words)
        if arguments.command not in _SITES:
            early_signals.let_go()
        context = Context(arguments.config, arguments.json, beside, supervisor)
        return _load(arguments.command).run(context, arguments)
    except SystemExit as stop:
        return EXIT_DONE if stop.code in (0, None) else EXIT_USAGE
    except BrokenPipeError:
        # The program that read our output has ended. Python still flushes at exit, and that must not raise again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_DONE
    except (RollcallError, OSError, ImportError) as error:
        return _report(_fault_of(error), as_json=as_json)
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # noqa: BLE001  # the outermost handler: a bug must give exit code 70, not Python's 1
        import traceback

        traceback.print_exc()
        warn(f"this is a fault in Rollcall ({type(error).__name__}); please report the lines above")
        return EXIT_BUG


def _fault_of(error: RollcallError | OSError | ImportError) -> RollcallError:
    """The error as a RollcallError. ImportError: some libraries are imported only when they are needed, and may be missing."""
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
