"""The description of the hub's API, OpenAPI 3.1: `python -m workers.hub.description` prints what docs/openapi-backend.json has to be."""

from __future__ import annotations

import json
import sys
from typing import Any

from workers.hub.application import described_application


def description() -> dict[str, Any]:
    """The document that a backend serves at /openapi.json."""
    return described_application().openapi()


def as_text(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


if __name__ == "__main__":
    sys.stdout.write(as_text(description()))
