"""Events as a camera makes them: without the `id` and `site` that the writer adds."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

Event = dict[str, Any]


def make_event(camera: str, kind: str, wall_time: float) -> Event:
    """An event with every field, those of a track empty. `wall_time`: seconds since 1970."""
    empty = ("user_id", "media_time_s", "track", "person", "score", "margin", "frames", "box")
    start = {"key": uuid.uuid4().hex, "event": kind, "time": iso_time(wall_time), "camera": camera}
    return start | dict.fromkeys(empty)


def iso_time(wall_time: float) -> str:
    """ISO 8601 in UTC to the millisecond, ending in Z. `wall_time`: seconds since 1970."""
    return datetime.fromtimestamp(wall_time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def rounded(value: float | None) -> float | None:
    return None if value is None else round(float(value), 4)
