"""`init`: writes a commented site.toml, made from the schema of the settings. It never overwrites an existing file."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from shared.errors import EXIT_DONE, ConfigurationError, RefusedError
from shared.settings.example import example_toml
from workers.commands.context import Context
from workers.commands.output import say, say_json

HELP = "write a commented site.toml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None of its own."""


def run(context: Context, arguments: argparse.Namespace) -> int:
    path = Path(context.config or os.environ.get("ROLLCALL_CONFIG") or "site.toml").expanduser().absolute()
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(example_toml())
    except FileExistsError as error:
        raise RefusedError(
            "the file exists already, and is left as it is", where=str(path), remedy="edit it, or move it away first"
        ) from error
    except OSError as error:
        raise ConfigurationError(
            "can't be written", where=str(path), got=error.strerror or str(error), remedy="choose another with --config"
        ) from error
    if context.as_json:
        say_json({"written": str(path)})
    else:
        say(f"wrote {path}")
        say("Next: name a camera in it, then type: python supervisor.py check")
    return EXIT_DONE
