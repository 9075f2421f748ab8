"""Negatives: faces that were judged not to be a person's. In the gallery they are rows like references; in an answer they are nobody.

gallery/block.py says how a negative is stored. Its person's text begins with a NUL character, which no name can have. A match finds
negatives among the people, and this module takes them out of the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from shared.gallery.match import Candidate

_MARK = "\0"
# Row ids of references are whole numbers of at most 53 bits. Those of negatives lie below all of them.
_ROWS_BELOW = -(1 << 62)


def negative_row(sighting: int) -> int:
    """The row id of the negative that was made from this sighting (an id of 1 to 2^53)."""
    return _ROWS_BELOW - sighting


def sighting_of(row_id: int) -> int | None:
    """The sighting of a negative's row; None for the row of a reference."""
    return _ROWS_BELOW - row_id if row_id < _ROWS_BELOW else None


def are_negatives(row_ids: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of these rows (n,) are negatives."""
    found: NDArray[np.bool_] = row_ids < _ROWS_BELOW
    return found


def negative_text(person: str | None) -> str:
    """The text that stands in the place of a name for faces that compete with `person` only, or with everybody (None)."""
    return _MARK + (person or "")


def is_negative(text: str) -> bool:
    """Whether this text stands in the place of a name."""
    return text.startswith(_MARK)


Found = tuple[str, str | None, float]  # a name or a negative's text, the user id, the score
Search = Callable[[NDArray[np.float32], int], "list[list[Found]] | None"]


def without_negatives(search: Search, probes: NDArray[np.float32], k: int) -> list[list[Candidate]] | None:
    """For each of `probes` (n, dim) at least its `k` best people, best first, each with the rival that competes with them.

    `search(probes, k)` gives the k best people of each probe, negatives among them, best first; or None, and then so is the answer. It is
    asked again, for twice as many people, only where negatives took places in the answer: without negatives it is asked once.
    """
    answers: list[list[Candidate]] = [[] for _ in probes]
    left, asked = list(range(len(probes))), k
    while left:
        found = search(probes if len(left) == len(probes) else probes[left], asked)
        if found is None:
            return None
        short = []
        for place, one in zip(left, found, strict=True):
            answers[place], is_enough = candidates_of(one, k)
            if not is_enough and len(one) >= asked > 0:  # a shorter list has everybody
                short.append(place)
        left, asked = short, 2 * asked
    return answers


def candidates_of(found: Sequence[Found], k: int) -> tuple[list[Candidate], bool]:
    """The people among `found` (best first), each with their rival; and whether they are enough for an answer of `k` people.

    A person does not count towards `k` if a face scores higher that is known not to be theirs and competes with nobody else. The next
    person may then be the right one, and needs a second person to be ahead of, too.
    """
    rivals = {text[1:]: score for text, _, score in found if is_negative(text)}
    answer: list[Candidate] = []
    counted = 0
    for text, user_id, score in found:
        if is_negative(text):
            continue
        of_person = [rivals[one] for one in (text, "") if one in rivals]
        answer.append(Candidate(text, user_id, score, max(of_person, default=None)))
        counted += rivals.get(text, score) <= score
        if counted == k:
            return answer, True
    return answer, False
