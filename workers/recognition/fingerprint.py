"""A model's fingerprint. Two embeddings can be compared only if they come from the same recognition file with the same
preprocessing; then their fingerprints are equal."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def fingerprint(recognition_sha256: str, preprocessing: Mapping[str, Any]) -> str:
    """64 hex digits that are equal exactly when two engines' embeddings may be compared.

    `preprocessing` holds JSON values; the order of its keys does not matter.
    """
    canonical = json.dumps(preprocessing, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(f"{recognition_sha256}\n{canonical}".encode("ascii")).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content, 64 hex digits. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
