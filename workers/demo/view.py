"""Shows the demo: a live table on a terminal, plain lines elsewhere, and at the end a summary."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from shared.events import Event
from shared.status import SiteSnapshot
from workers.demo.report import CameraView, DemoReport

_STATES = {"up": "green", "ended": "blue", "down": "red", "stopped": "dim"}
_LINES_STATUS_S = 5.0  # without a terminal, a status line for each camera is printed this often


class DemoView:
    """Use it as `with DemoView(report, console) as view:`; call `view.event(…)` and `view.status(…)` from any thread."""

    def __init__(self, report: DemoReport, console: Console) -> None:
        self._report, self._console = report, console
        self._started_at = time.monotonic()
        self._status_shown_at = self._started_at
        self._lock = threading.Lock()
        self._live: Live | None = None
        if console.is_terminal:
            self._live = Live(get_renderable=self._draw, console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> DemoView:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def event(self, event: Event) -> None:
        """Add one event to the report. Without a terminal, print it."""
        self._report.take_event(event)
        if self._live is None and (line := event_line(event)):
            self._print(line)

    def status(self, status: SiteSnapshot) -> None:
        """Add the site's status to the report. Without a terminal, print it every few seconds."""
        self._report.take_status(status)
        now = time.monotonic()
        if self._live is None and now - self._status_shown_at >= _LINES_STATUS_S:
            self._status_shown_at = now
            for name, camera in self._report.cameras().items():
                self._print(status_line(name, camera))

    def link(self, address: str) -> None:
        """Print the address that signs a browser in."""
        self._print("in a browser, once, within ten minutes; Ctrl-C ends the demo:")
        self._print(address)

    def _draw(self) -> Group:
        return Group(live_table(self._report, time.monotonic() - self._started_at))

    def _print(self, line: str) -> None:
        with self._lock:
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def live_table(report: DemoReport, seconds: float) -> Table:
    """A table with one row for each camera: its state and figures, who is in view now, and the last verdicts."""
    table = Table(title=f"Rollcall demo · {seconds:.0f} s", title_justify="left", expand=False)
    for heading in ("camera", "state"):
        table.add_column(heading, no_wrap=True)
    for heading in ("frames/s", "faces/s", "frame age"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("in view", min_width=24)
    table.add_column("last verdicts", min_width=24)
    for name, camera in report.cameras().items():
        state = camera.status.word
        table.add_row(
            name,
            Text(state, style=_STATES.get(state, "yellow")),
            number(camera.status.frames_per_s),
            number(camera.status.faces_per_s),
            number(camera.status.age_p50_ms, 0, " ms"),
            _names(in_view(camera)),
            _names(list(camera.last)),
        )
    return table


def event_line(event: Event) -> str | None:
    """An event as a line to read; None for an event that the demo does not show."""
    kind, camera = event.event, event.camera
    clock = str(event.time)[11:19]
    if kind == "named":
        return f"{clock}  {camera:<10} named    {event.person}  (score {_score(event)}, {event.frames} frames)"
    if kind == "unknown":
        return f"{clock}  {camera:<10} unknown  (nearest {_score(event)}, {event.frames} frames)"
    if kind in ("camera_up", "camera_down"):
        return f"{clock}  {camera:<10} {'up' if kind == 'camera_up' else 'down'}"
    return None


def status_line(name: str, camera: CameraView) -> str:
    """A camera's status as a line to read."""
    status = camera.status
    seen, age = ", ".join(in_view(camera)) or "nobody", number(status.age_p50_ms, 0, " ms")
    return (
        f"          {name:<10} {status.word}: {number(status.frames_per_s)} frames/s, "
        f"{number(status.faces_per_s)} faces/s, frame age {age}, in view: {seen}"
    )


def print_summary(summary: Mapping[str, Any], console: Console) -> None:
    """Print who was recognised where, the speed and the memory, and where the sheet is."""
    table = Table(title="Who was recognised where", title_justify="left")
    for heading, justify in (
        ("camera", "left"),
        ("who", "left"),
        ("score", "right"),
        ("ahead by", "right"),
        ("at", "right"),
    ):
        table.add_column(heading, justify="right" if justify == "right" else "left")
    for name, camera in summary["cameras"].items():
        for seen in camera["named"]:
            table.add_row(name, Text(seen["who"], style="green"), *_numbers(seen))
        for seen in camera["unknown"]:
            table.add_row(name, Text(f"unknown ({seen['who']})", style="yellow"), *_numbers(seen))
        for who in camera["missed"]:
            table.add_row(name, Text(f"not yet named: {who}", style="dim"), "", "", "")
        table.add_section()
    console.print(table)
    for line in summary_lines(summary):
        console.print(escape(line), highlight=False, soft_wrap=True)


def summary_lines(summary: Mapping[str, Any]) -> list[str]:
    """The summary's figures, one line each."""
    latency, wrong = summary["latency_ms"], summary["wrong_names"]
    lines = [
        f"Wrong names: {len(wrong)}" + "".join(f"; {w['camera']}: {w['is']} was named {w['named']}" for w in wrong)
    ]
    p50, p95 = (number(latency[key], 0, " ms") for key in ("p50", "p95"))
    lines.append(f"Latency, from a frame's capture to the arrival of its event here: p50 {p50}, p95 {p95}")
    for name, camera in summary["cameras"].items():
        rates = f"{number(camera['frames_per_s'])} frames/s, {number(camera['faces_per_s'])} faces/s"
        lines.append(f"Camera {name}: {rates}, newest frame's age p95 {number(camera['age_p95_ms'], 0, ' ms')}")
    for name, process in summary["memory"].items():
        lines.append(f"Memory of {name}: {_mib(process['pss_bytes'])} (PSS), {_mib(process['rss_bytes'])} (RSS)")
    if summary["memory_pss_bytes"]:
        lines.append(f"Memory of the whole site: {_mib(summary['memory_pss_bytes'])} (PSS)")
    if summary["sheet"]:
        lines.append(f"Contact sheet: {summary['sheet']}")
    return lines


def in_view(camera: CameraView) -> list[str]:
    """Who is in view now: names in order, then the number of unknown faces."""
    names = sorted({name for name in camera.in_view.values() if name != "unknown"})
    strangers = sum(name == "unknown" for name in camera.in_view.values())
    return names + (["unknown" if strangers == 1 else f"{strangers} unknown"] if strangers else [])


def number(value: object, digits: int = 1, unit: str = "") -> str:
    """A number as text; – for None."""
    return f"{value:.{digits}f}{unit}" if isinstance(value, int | float) else "–"


def _numbers(seen: Mapping[str, Any]) -> tuple[str, str, str]:
    return number(seen["score"], 3), number(seen["margin"], 3), number(seen["media_time_s"], 1, " s")


def _score(event: Event) -> str:
    return number(event.score, 3)


def _mib(size_bytes: int | None) -> str:
    return "–" if size_bytes is None else f"{size_bytes / 2**20:.0f} MiB"


def _names(names: list[str]) -> Text:
    text = Text()
    for place, name in enumerate(names):
        text.append(", " if place else "")
        text.append(name, style="yellow" if name.endswith("unknown") else "green")
    return text
