"""The description of the API, OpenAPI 3.1: `python -m workers.dashboard.description` prints what docs/openapi.json has to be."""

from __future__ import annotations

import json
import sys
from typing import Any

from workers.dashboard.application import described_application


def description() -> dict[str, Any]:
    """The document that a site serves at /openapi.json, without the site's own base path."""
    return described_application("").openapi()


def as_text(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


if __name__ == "__main__":
    sys.stdout.write(as_text(description()))
