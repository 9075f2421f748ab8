"""Writes the support bundle: a ZIP file of texts, each of a bounded size."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workers.support.masking import Masking

MAX_PART_BYTES = 2 << 20
_READ_ME = """What is in this file, for somebody who helps with this site:

  versions.json  the program, Python, the libraries, the database's schema
  settings.json  the settings in force, without passwords
  status.json    every process, camera and the gallery, as `status --json` prints it; null if no site runs
  models.json    the installed models
  check.json     what `check` finds
  log.txt        the newest lines of the service's log, if it has one that can be read

There are no faces, no embeddings and no passwords in it. Each person's name is replaced by a number.
Names of cameras and addresses in the network are in it: look through it before you give it away.
"""


def write_bundle(target: Path, parts: Mapping[str, Any], log: str, masking: Masking) -> int:
    """Write the parts (name → JSON document) and the log into `target`, mode 0600, without names and secrets. Returns its size.

    Raises OSError, also if the file exists.
    """
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("README.txt", _READ_ME)
        for name, document in parts.items():
            text = json.dumps(masking.document(document), ensure_ascii=False, indent=1)
            archive.writestr(f"{name}.json", _bounded(text))
        if log:
            archive.writestr("log.txt", _newest(masking.text(log)))
    return target.stat().st_size


def _bounded(text: str) -> bytes:
    data = text.encode("utf-8", "replace")
    return data if len(data) <= MAX_PART_BYTES else data[:MAX_PART_BYTES] + b"\n... (cut)\n"


def _newest(text: str) -> bytes:
    """The end of a log, from a whole line on."""
    data = text.encode("utf-8", "replace")
    return data if len(data) <= MAX_PART_BYTES else data[-MAX_PART_BYTES:].partition(b"\n")[2]
