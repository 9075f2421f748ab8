"""The pictures of strangers: JPEG files in data/strangers. Only the writer makes them and chooses their names.

A picture is written before the row that names it is committed. It is removed after the row's deletion is committed. So a process that
is killed in between leaves a picture without a row, and never a row without a picture. The next start removes such a picture.
"""

from __future__ import annotations

import contextlib
import os
import re
import uuid
from collections.abc import Iterable
from pathlib import Path

from shared.errors import disk_fault
from shared.files.private_folder import make_private_folder
from shared.photos.kept import Kept

_NAME = re.compile(r"stranger-\d+-[0-9a-f]{12}\.jpg")


class Pictures:
    """The folder of pictures. It also keeps which files the current transaction has written, and which it wants removed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._written: list[str] = []
        self._doomed: list[str] = []

    def write(self, stranger: int, photo: bytes) -> str:
        """Write a picture (JPEG) of a stranger. Returns its file name. Raises the RollcallError of `disk_fault` if that fails."""
        make_private_folder(self._folder)
        name = f"stranger-{stranger}-{uuid.uuid4().hex[:12]}.jpg"
        path = self._folder / name
        self._written.append(name)
        try:
            path.touch(mode=0o600, exist_ok=False)
            path.write_bytes(photo)
        except OSError as error:
            raise disk_fault(error, path) from error
        return name

    def doom(self, names: Iterable[str]) -> None:
        """Note pictures that are to be removed after the commit."""
        self._doomed += names

    def mark(self) -> tuple[int, int]:
        """How much the transaction has written and noted so far, for `undo`."""
        return len(self._written), len(self._doomed)

    def undo(self, mark: tuple[int, int] = (0, 0)) -> None:
        """Undo what was done since `mark`, after the rows were rolled back to there."""
        for name in self._written[mark[0] :]:
            with contextlib.suppress(OSError):  # the next start removes what can't be removed now
                (self._folder / name).unlink(missing_ok=True)
        del self._written[mark[0] :], self._doomed[mark[1] :]

    def settle(self) -> Kept:
        """To be called after the commit. Returns the files that are to be removed now."""
        gone = Kept([self._folder / name for name in self._doomed if _NAME.fullmatch(name)])
        self._written, self._doomed = [], []
        return gone

    def of(self, stranger: int) -> list[Path]:
        """Every picture of this stranger in the folder."""
        return sorted(Path(entry.path) for entry in self._entries() if entry.name.startswith(f"stranger-{stranger}-"))

    def present(self) -> set[str]:
        """The names of all pictures in the folder that are not empty. Files with other names are not ours and are ignored."""
        return {entry.name for entry in self._entries() if entry.stat().st_size}

    def sweep(self, known: set[str]) -> None:
        """Remove every picture whose name is not in `known`, the names in the rows."""
        for entry in self._entries():
            if entry.name not in known:
                with contextlib.suppress(OSError):  # as in `undo`
                    Path(entry.path).unlink(missing_ok=True)

    def _entries(self) -> list[os.DirEntry[str]]:
        if not self._folder.is_dir():
            return []
        return [entry for entry in os.scandir(self._folder) if _NAME.fullmatch(entry.name) and entry.is_file()]
