"""The last versions of site.toml, so that a change from afar can be taken back. Each is a file in data_dir/settings, 0600 in a 0700 folder.

They hold what site.toml holds, passwords included. The oldest is removed when there are more than MOST.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from shared.errors import disk_fault
from shared.files.durable_folder import sync_folder
from shared.files.private_folder import make_private_folder

MOST = 20
_NAME = re.compile(r"(\d{1,12})\.json")
_MAX_BYTES = 8 << 20  # JSON can take six letters for one of the file's 1 MiB


@dataclass(frozen=True)
class Version:
    """One version. `time`: ISO 8601, UTC. `by`: who made it; None: somebody who edited the file. `text`: the whole file, with its secrets."""

    id: int
    time: str
    by: str | None
    text: str


class Versions:
    """The versions of one site. Whoever adds one holds the lock of the folder."""

    def __init__(self, data_dir: Path) -> None:
        self.folder = data_dir / "settings"

    def listed(self) -> list[Version]:
        """Newest first. A file that can't be read as a version is left out."""
        found = (self.find(number) for number in sorted(self._numbers(), reverse=True)[:MOST])
        return [one for one in found if one is not None]

    def find(self, number: int) -> Version | None:
        try:
            descriptor = os.open(self._path(number), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as file:
                document = json.loads(file.read(_MAX_BYTES))
            return Version(number, str(document["time"]), document["by"], str(document["text"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def add(self, text: str, by: str | None) -> Version:
        """Keep this text. When this returns, it is on the disk. Raises RollcallError."""
        make_private_folder(self.folder)
        numbers = self._numbers()
        version = Version(max(numbers, default=0) + 1, f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", by, text)
        path = self._path(version.id)
        half = path.with_name(f".{path.name}.new")
        document = {key: value for key, value in asdict(version).items() if key != "id"}
        try:
            half.unlink(missing_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(half, flags, 0o600), "w", encoding="utf-8") as file:
                json.dump(document, file, ensure_ascii=False)
                file.flush()
                os.fsync(file.fileno())
            half.replace(path)
            for number in sorted([*numbers, version.id])[:-MOST]:
                self._path(number).unlink(missing_ok=True)
            sync_folder(self.folder)
        except OSError as error:
            with contextlib.suppress(OSError):
                half.unlink(missing_ok=True)
            raise disk_fault(error, path) from error
        return version

    def _numbers(self) -> list[int]:
        try:
            names = [one.name for one in self.folder.iterdir()]
        except OSError:
            return []
        return [int(found[1]) for name in names if (found := _NAME.fullmatch(name))]

    def _path(self, number: int) -> Path:
        return self.folder / f"{number}.json"
