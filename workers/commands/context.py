"""The context that every command gets: the settings and their file, the configured engine, and the class that runs a site."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from shared.events import Sighting
from shared.settings.file import find_config, load_settings
from shared.settings.schema import Settings
from shared.status import SiteSnapshot

if TYPE_CHECKING:
    from workers.recognition.engine import Engine


class Supervisor(Protocol):
    """One site, as commands use it. The class itself is in supervisor.py, which no worker imports."""

    def run(self) -> int:
        """Run the site until it is asked to stop. Returns its exit code."""
        ...

    def ask_to_stop(self) -> None:
        """Stop in order. Safe from any thread."""
        ...

    def snapshot(self) -> SiteSnapshot | None:
        """The state of every child, as `status` shows it; None before the first is there. Safe from any thread."""
        ...


class SupervisorClass(Protocol):
    """The class of the Supervisor, which makes one for a site's settings."""

    def __call__(
        self,
        settings: Settings,
        *,
        on_event: Callable[[Sighting], None],
        until_ended: bool = False,
        assume_model: bool = False,
        child_output: int | None = None,
    ) -> Supervisor: ...


@dataclass(frozen=True)
class Context:
    """`config`: the value of --config, or None. `as_json`: whether --json was given. `beside`: the folder of supervisor.py.
    `supervisor`: the class that runs a site."""

    config: str | None
    as_json: bool
    beside: Path
    supervisor: SupervisorClass

    @cached_property
    def settings_path(self) -> Path | None:
        """The settings' file; None if there is none. Raises ConfigurationError if --config names a file that does not exist."""
        return find_config(self.config, self.beside)

    @cached_property
    def settings(self) -> Settings:
        """The settings, or the defaults without a file. Raises ConfigurationError."""
        return load_settings(self.settings_path)

    def open_engine(self, *, threads: int) -> Engine:
        """The configured engine; a missing pack is fetched first. Raises ConfigurationError or TemporaryError."""
        from workers.models.opening import open_engine
        from workers.models.packs import ensure_pack

        ensure_pack(self.settings)
        return open_engine(self.settings.engine_choice, det_size=self.settings.recognition.det_size, threads=threads)


def common_options() -> argparse.ArgumentParser:
    """The options that every command takes, for argparse's `parents`.

    They have no default here: the default of `models install --json` would overwrite the value of `models --json`.
    """
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--config",
        metavar="FILE",
        default=argparse.SUPPRESS,
        help="site.toml; default: $ROLLCALL_CONFIG, ./site.toml, or the one beside supervisor.py",
    )
    common.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")
    return common


def add_assume_model(parser: argparse.ArgumentParser) -> None:
    """The option of all commands that match or save embeddings of the configured model."""
    parser.add_argument(
        "--assume-model",
        action="store_true",
        help="if the gallery does not record its model: assume the configured one",
    )
