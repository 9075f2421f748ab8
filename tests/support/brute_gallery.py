"""A gallery in this process. It gives the same answers as `GalleryReader`, by brute force."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared.gallery.match import Candidate
from shared.gallery.tail import Tail, tail_of


class BruteGallery:
    """References by person; `refresh` tells of changes as the real reader does."""

    def __init__(self, fingerprint: str) -> None:
        self.fingerprint = fingerprint
        self._rows: list[tuple[str, str | None, NDArray[np.float32]]] = []
        self._wrong: list[NDArray[np.float32]] = []
        self._changed = False

    def enrol(self, person: str, embedding: NDArray[np.float32], user_id: str | None = None) -> None:
        self._rows.append((person, user_id, embedding))
        self._changed = True

    def forget(self, person: str) -> None:
        self._rows = [row for row in self._rows if row[0] != person]
        self._changed = True

    def correct(self, embedding: NDArray[np.float32]) -> None:
        """A face that was judged wrong, and competes with everybody."""
        self._wrong.append(embedding)
        self._changed = True

    def switch_model(self, fingerprint: str) -> None:
        """`models use`: an empty gallery of another model."""
        self.fingerprint, self._rows, self._changed = fingerprint, [], True

    @property
    def tail(self) -> Tail:
        names = [row[0] for row in self._rows]
        if not names:
            return Tail()
        persons = np.array([names.index(name) for name in names], np.int32)
        return tail_of(np.stack([row[2] for row in self._rows]), persons)

    def refresh(self) -> bool:
        changed, self._changed = self._changed, False
        return changed

    def match(self, probes: NDArray[np.float32], k: int = 2) -> list[list[Candidate]]:
        answers = []
        for probe in probes:
            best: dict[str, Candidate] = {}
            rival = max((float(face @ probe) for face in self._wrong), default=None)
            for person, user_id, reference in self._rows:
                score = float(reference @ probe)
                if person not in best or score > best[person].score:
                    best[person] = Candidate(person, user_id, score, rival)
            answers.append(sorted(best.values(), key=lambda candidate: -candidate.score)[:k])
        return answers
