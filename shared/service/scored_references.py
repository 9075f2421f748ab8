"""How well each reference of a person fits: its scores with the person's other references and with the nearest other person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.embeddings import cosines
from shared.errors import TemporaryError
from shared.gallery.match import Gallery
from shared.records import Reference

_PROBES_AT_ONCE = 64
BY_HAND = "by hand"
_AGAIN_AND_AGAIN = 2


@dataclass(frozen=True)
class ScoredReference:
    """A reference and its best scores, which are cosines with references in use: `own` with the person's others, None if there are none;
    `other` with `other_person`, the nearest other person, None if there is nobody else. `named_wrongly`: how many sightings that were
    judged wrong resembled this reference most."""

    reference: Reference
    own: float | None
    other_person: str | None
    other: float | None
    named_wrongly: int = 0

    @property
    def _is_nearer_to_another(self) -> bool:
        return self.own is not None and self.other is not None and self.other > self.own

    @property
    def remark(self) -> str | None:
        """A remark where the reference stands out, with the other person's name: it is nearer to another person than to its own, or it named
        somebody wrongly again and again."""
        return self._fault(str(self.other_person))

    @property
    def reason(self) -> str:
        """The reason for which it would be set aside. It names nobody: it is stored with this person, and must not outlive the other."""
        return self._fault("somebody else") or BY_HAND

    def _fault(self, other: str) -> str | None:
        faults = []
        if self._is_nearer_to_another:
            faults.append(f"nearer to {other} ({self.other:.3f}) than to its own ({self.own:.3f})")
        if self.named_wrongly >= _AGAIN_AND_AGAIN:
            faults.append(f"named somebody wrongly {self.named_wrongly} times")
        return ", ".join(faults) or None


def scored_references(
    references: Sequence[Reference],
    vectors: Mapping[int, NDArray[np.float32]],
    gallery: Gallery,
    named_wrongly: Mapping[int, int],
) -> list[ScoredReference]:
    """Score the references of one person, also those that are set aside. `vectors`: their embeddings (dim,) by id. `named_wrongly`: how
    often each named somebody wrongly, by id.

    References without a vector were deleted meanwhile and are left out. Raises TemporaryError if the gallery is of another model by now.
    """
    known = [one for one in references if one.id in vectors]
    if not known:
        return []
    probes = np.stack([vectors[one.id] for one in known])
    in_use = np.flatnonzero([one.set_aside_since is None for one in known])
    scored: list[ScoredReference] = []
    for start in range(0, len(known), _PROBES_AT_ONCE):
        part = slice(start, start + _PROBES_AT_ONCE)
        own = _own_scores(probes[part], probes[in_use], start, in_use)
        for one, best, people in zip(known[part], own, _match(gallery, probes[part]), strict=True):
            name, score = next((person for person in people if person[0] != one.person), (None, None))
            scored.append(ScoredReference(one, best, name, score, named_wrongly.get(one.id, 0)))
    return scored


def _own_scores(
    probes: NDArray[np.float32], others: NDArray[np.float32], start: int, in_use: NDArray[np.intp]
) -> list[float | None]:
    """For each of `probes` its best score with `others`, not counting itself. The probes are the references from number `start` on; the
    others are those with the numbers `in_use`."""
    scores = cosines(probes, others)
    scores[np.arange(start, start + len(probes))[:, None] == in_use[None]] = -np.inf
    best = scores.max(axis=1, initial=-np.inf)
    return [float(score) if np.isfinite(score) else None for score in best]


def _match(gallery: Gallery, probes: NDArray[np.float32]) -> list[list[tuple[str, float]]]:
    try:
        found = gallery.match(probes, k=2)  # the person, and the nearest other one
    except ValueError as error:
        raise TemporaryError("the gallery's model was switched meanwhile", remedy="try again") from error
    return [[(one.person, one.score) for one in people] for people in found]
