"""`demo`: runs a real site on clips that it makes itself: no camera, no configuration, no download.

It leaves nothing behind but the contact sheet.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from shared.errors import EXIT_DONE, RollcallError, TemporaryError
from shared.events import Sighting
from shared.records import Role
from shared.settings.file import parse_settings
from shared.settings.schema import LOOPBACK, Settings, WebSettings
from shared.status import ChildState, SiteSnapshot
from workers.commands.context import Context, Supervisor
from workers.commands.output import say_json, warn
from workers.commands.web import make_link
from workers.demo.report import DemoReport, process_memory
from workers.demo.scene import Scene, make_scene
from workers.demo.sheet import make_sheet
from workers.demo.view import DemoView, print_summary
from workers.serving.libraries import require_libraries

_STATUS_EVERY_S = 0.5
_MEMORY_EVERY = 4  # memory is measured with every fourth status: PSS walks every page of a process
_LOG_LINES = 20
_SESSION_S = 86400.0


class _JsonView:
    """The demo's view for --json: prints each event as it comes."""

    def __init__(self, report: DemoReport) -> None:
        self._report = report

    def event(self, sighting: Sighting) -> None:
        self._report.take_event(sighting)
        say_json(sighting.to_json(), line=True)

    def status(self, status: SiteSnapshot) -> None:
        self._report.take_status(status)

    def link(self, address: str) -> None:
        say_json({"event": "web", "url": address}, line=True)


HELP = "see it work: no camera, no configuration, no download"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=_seconds, metavar="N", help="end after N seconds")
    parser.add_argument("--web", action="store_true", help="show it in a browser, too, until Ctrl-C or --seconds")
    parser.add_argument("--sheet", metavar="PATH", help="where the contact sheet goes; default: the temp folder")


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value <= 86400:
        raise argparse.ArgumentTypeError("seconds must lie between 0 and 86400")
    return value


def run(context: Context, arguments: argparse.Namespace) -> int:
    logging.getLogger("rollcall").setLevel(logging.WARNING)  # its log lines would break the table
    if arguments.web:
        require_libraries("the web part is asked for", "web")
    sheet = Path(arguments.sheet).expanduser().absolute() if arguments.sheet else _default_sheet()
    with tempfile.TemporaryDirectory(prefix="rollcall-demo-") as folder, _ended_by_sigterm():
        if not context.as_json:
            warn("making two clips and enrolling five people from pictures in the installed packages …")
        scene = make_scene(Path(folder) / "site")
        code, summary = _watch(context, scene, sheet, arguments)
        if code != EXIT_DONE:
            return code
    if context.as_json:
        say_json(summary, line=True)
    else:
        print_summary(summary, Console())
    return EXIT_DONE


def _default_sheet() -> Path:
    """The sheet's default path, in a new folder that only we can open. In a shared folder, somebody could place a link at a
    name that can be guessed."""
    return Path(tempfile.mkdtemp(prefix="rollcall-demo-")) / "sheet.png"


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end the demo as Ctrl-C does, so that the temporary folder is removed. While the site runs, it handles both."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _watch(context: Context, scene: Scene, sheet: Path, arguments: argparse.Namespace) -> tuple[int, dict[str, Any]]:
    """Run the site on the scene until its clips end; with --web until Ctrl-C; or for --seconds. Returns its exit code and the summary."""
    seconds: float | None = arguments.seconds
    until_ended = seconds is None and not arguments.web
    report = DemoReport(scene.expected, scene.people, scene.who_is_at)
    view: AbstractContextManager[DemoView | _JsonView] = contextlib.nullcontext(_JsonView(report))
    if not context.as_json:
        view = DemoView(report, Console())
    content = scene.settings(loop=not until_ended, web_port=_free_port() if arguments.web else None)
    settings = parse_settings(content, scene.folder.parent / "site.toml", environ={})
    log = scene.folder / "log.txt"
    links = _LinkMaker(settings) if arguments.web else None
    with view as shown, log.open("wb") as output:
        site = context.supervisor(settings, on_event=shown.event, until_ended=until_ended, child_output=output.fileno())
        with _Watcher(site, shown, seconds, links) as watcher:
            code = site.run()
    if code != EXIT_DONE:
        for line in log.read_text(errors="replace").splitlines()[-_LOG_LINES:]:
            warn(line)
        return code, {}
    written = _draw(sheet, report, scene, watcher.seconds)
    return code, report.summary(watcher.seconds, watcher.memory, written)


def _draw(sheet: Path, report: DemoReport, scene: Scene, seconds: float) -> str | None:
    try:
        subtitle = f"{len(scene.cameras)} cameras, {seconds:.0f} s, {len(scene.people)} people enrolled"
        return str(make_sheet(sheet, report.sightings(), scene.cameras, scene.photos, subtitle))
    except RollcallError as error:
        warn(error.line())
        return None


def _free_port() -> int:
    """The web part's port of other sites, or one that is free if a site uses that."""
    for port in (WebSettings().port, 0):
        with contextlib.suppress(OSError), socket.create_server((LOOPBACK[0], port)) as probe:
            return int(probe.getsockname()[1])
    raise TemporaryError("no port is free", where=LOOPBACK[0], remedy="run the demo without --web")


class _LinkMaker:
    """Makes one link that signs a browser in, when the web part runs."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._is_made = False

    def link(self, status: SiteSnapshot) -> str | None:
        """The link's address, once; None before and after."""
        web = status.processes.get("web")
        if self._is_made or web is None or web.state is not ChildState.RUNNING:
            return None
        self._is_made = True
        return make_link(self._settings, "demo", Role.ADMIN, _SESSION_S)


class _Watcher:
    """A thread beside the running site: it shows the status, measures the processes' memory, and stops the site after --seconds."""

    def __init__(
        self, site: Supervisor, view: DemoView | _JsonView, seconds: float | None, links: _LinkMaker | None
    ) -> None:
        """`links`: makes the link to the web part; None: there is none."""
        self._site, self._view, self._limit_s, self._links = site, view, seconds, links
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="demo-watcher", daemon=True)
        self.memory: dict[str, dict[str, int | None]] = {}
        self.seconds = 0.0

    def __enter__(self) -> _Watcher:
        self._started_at = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *unused: object) -> None:
        self.seconds = time.monotonic() - self._started_at
        self._leaving.set()
        self._thread.join(5.0)

    def _watch(self) -> None:
        turn = 0
        while not self._leaving.wait(_STATUS_EVERY_S):
            if self._limit_s is not None and time.monotonic() - self._started_at >= self._limit_s:
                self._site.ask_to_stop()
            status = self._site.snapshot()
            if status:
                self._view.status(status)
                if self._links is not None and (address := self._links.link(status)) is not None:
                    self._view.link(address)
                turn += 1
                if turn % _MEMORY_EVERY == 0:
                    self._measure(status)

    def _measure(self, status: SiteSnapshot) -> None:
        pids = {"supervisor": os.getpid(), "writer": status.writer.pid}
        pids |= {f"camera {name}": camera.pid for name, camera in status.cameras.items()}
        self.memory |= process_memory({name: pid for name, pid in pids.items() if pid})
