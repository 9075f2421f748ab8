"""Whether photos that are named after their files show one and the same person: then the files are not named after people.

`enrol photos/Ada` instead of `enrol photos`, or `enrol photos/Ada/*`: each photo would become a person, and Ada, who looks
like all of them, would be *uncertain* for ever.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from shared.photos.reading import shown
from workers.photos.naming import enrol_command
from workers.photos.pool import PhotoResult

_LOOKED_AT = 8  # of a folder's photos, the first that give an embedding
_HELD_BYTES = (
    64 << 20
)  # of all photos that are held back; beyond, the folder that waits longest is decided by what it has


class OnePersonCheck:
    """Holds back the first photos of each folder until it is told what they are."""

    def __init__(self, named_by_file: dict[Path, Path], threshold: float) -> None:
        """`named_by_file`: photo -> folder, of those named after their file. `threshold`: cosine from which on two are one."""
        self._folders = named_by_file
        self._threshold = threshold
        self._held: dict[Path, list[PhotoResult]] = {}
        self._reasons: dict[Path, str | None] = {}  # of the folders that are decided: why its photos are refused, if so

    def offer(self, result: PhotoResult) -> list[PhotoResult]:
        """A photo with its embedding; those that are decided by now, refused ones with their reason."""
        folder = self._folders.get(result.photo.path)
        if folder is None:
            return [result]
        if folder in self._reasons:
            return [_judged(result, self._reasons[folder])]
        held = self._held.setdefault(folder, [])
        held.append(result)
        if len(held) == _LOOKED_AT:
            return self._decide(folder)
        everything = sum(len(one.photo.data) for results in self._held.values() for one in results)
        return self._decide(next(iter(self._held))) if everything > _HELD_BYTES else []

    def rest(self) -> list[PhotoResult]:
        """What is still held back, decided."""
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
        """How many are like the one that most are like, itself included."""
        rows = np.stack([result.embedding for result in held if result.embedding is not None])
        return int((rows @ rows.T >= self._threshold).sum(axis=1).max())


def _judged(result: PhotoResult, reason: str | None) -> PhotoResult:
    return result if reason is None else PhotoResult(result.photo, None, reason)
