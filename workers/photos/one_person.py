"""Refuses photos of one person that would be enrolled as several people, each named after a file.

This happens when an operator types `enrol photos/Ada` or `enrol photos/Ada/*` instead of `enrol photos`: each photo would
become a person of its own, and Ada, who looks like all of them, would be *uncertain* for ever. So the first photos of each
folder are compared; if most of them show one person, the folder's files are not named after people.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from shared.photos.reading import shown
from workers.photos.naming import enrol_command
from workers.photos.pool import PhotoResult

_COMPARED = 8  # a folder's first photos with an embedding that are compared with each other
# If the photos that are held back take more than this, the folder that waits longest is decided by those that it has so far.
_HELD_BYTES = 64 << 20


class OnePersonCheck:
    """Holds back the first photos of each folder until it is decided whether they show one person."""

    def __init__(self, named_by_file: dict[Path, Path], threshold: float) -> None:
        """`named_by_file`: photo → folder, of the photos named after their file. `threshold`: photos with at least this cosine show
        one person."""
        self._folders = named_by_file
        self._threshold = threshold
        self._held: dict[Path, list[PhotoResult]] = {}
        self._reasons: dict[Path, str | None] = {}  # decided folders: why their photos are refused, or None

    def offer(self, result: PhotoResult) -> list[PhotoResult]:
        """Add a photo with its embedding. Returns the photos that are decided by now; refused ones carry the reason."""
        folder = self._folders.get(result.photo.path)
        if folder is None:
            return [result]
        if folder in self._reasons:
            return [_judged(result, self._reasons[folder])]
        held = self._held.setdefault(folder, [])
        held.append(result)
        if len(held) == _COMPARED:
            return self._decide(folder)
        everything = sum(len(one.photo.data) for results in self._held.values() for one in results)
        return self._decide(next(iter(self._held))) if everything > _HELD_BYTES else []

    def rest(self) -> list[PhotoResult]:
        """Decide all photos that are still held back, and return them."""
        return [result for folder in list(self._held) for result in self._decide(folder)]

    def _decide(self, folder: Path) -> list[PhotoResult]:
        held = self._held.pop(folder)
        alike = self._alike(held)
        reason = None
        if alike > 1 and 2 * alike > len(held):
            name = folder.resolve().name
            reason = (
                f"{alike} of the {len(held)} photos here that are named after their files show one person; "
                f"remedy: if all are of {shown(name)}: {enrol_command(folder, name)}; "
                "else one folder for each person, named after them, and enrol the folder around"
            )
        self._reasons[folder] = reason
        return [_judged(result, reason) for result in held]

    def _alike(self, held: list[PhotoResult]) -> int:
        """The largest number of photos that are alike to one and the same photo, that photo included."""
        rows = np.stack([result.embedding for result in held if result.embedding is not None])
        return int((rows @ rows.T >= self._threshold).sum(axis=1).max())


def _judged(result: PhotoResult, reason: str | None) -> PhotoResult:
    return result if reason is None else PhotoResult(result.photo, None, reason)
