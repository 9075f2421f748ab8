"""Events as the JSON documents that are sent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from shared.events import Event


def told(events: Iterable[Event]) -> list[dict[str, Any]]:
    return [event.to_json() for event in events]
