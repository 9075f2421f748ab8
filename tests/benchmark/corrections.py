"""What a correction does: strangers who were given a name are judged wrong by one photo; are their other photos still named?

    python -m tests.benchmark.corrections [--threshold T] [--margin M] [--shuffles N]

Photos: lfw_dev/people of the test data, of those with two photos or more. In each shuffle half of the people are enrolled with their
first photo, and the others are strangers. The first photo of a stranger that is named is judged wrong. Asked then:
- of the strangers' other photos that were named: how many are named still, with only that stranger's correction;
- of the enrolled people's other photos: how many are named right before, and with all corrections of the shuffle at once.
A lower threshold makes more false names, and so more to count.
"""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray

from shared.embeddings import Batch
from shared.errors import RefusedError
from shared.gallery.memory import MemoryGallery
from shared.gallery.negatives import negative_row, negative_text
from tests.support.paths import FACES, SMALL_PACK
from workers.photos.embedding import embed_photo
from workers.photos.naming import people_in
from workers.recognition.working_point import WorkingPoint
from workers.recognizer_arcface import ArcFaceEngine

Vectors = NDArray[np.float32]


def embed_people() -> dict[str, Vectors]:
    """The embeddings (n, 512) of each person with two photos or more that give a reference."""
    engine = ArcFaceEngine(SMALL_PACK, det_size=320, threads=2)
    found: dict[str, list[Vectors]] = {}
    for person, photo in people_in([FACES / "lfw_dev" / "people"]).pairs:
        try:
            found.setdefault(person, []).append(embed_photo(engine, photo).embedding)
        except RefusedError:
            continue
    return {person: np.stack(vectors) for person, vectors in found.items() if len(vectors) > 1}


def gallery_of(people: dict[str, Vectors], enrolled: list[str], wrong: list[Vectors]) -> MemoryGallery:
    """A gallery of the first photos of `enrolled`, and of faces that were judged wrong."""
    references = np.stack([people[name][0] for name in enrolled])
    batches = [Batch(range(1, len(enrolled) + 1), enrolled, [None] * len(enrolled), references)]
    if wrong:
        rows = [negative_row(number + 1) for number in range(len(wrong))]
        batches.append(Batch(rows, [negative_text(None)] * len(wrong), [None] * len(wrong), np.stack(wrong)))
    return MemoryGallery(batches, lambda _: None)


def named(gallery: MemoryGallery, probes: Vectors, point: WorkingPoint) -> list[str | None]:
    """Whom each probe (n, 512) is named."""
    return [point.names(point.standing(found)) for found in gallery.match(probes)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threshold", type=float, default=0.35)
    parser.add_argument("--margin", type=float, default=0.05)
    parser.add_argument("--shuffles", type=int, default=10)
    options = parser.parse_args()
    point, people = WorkingPoint(options.threshold, options.margin), embed_people()
    corrected = also = still = asked = before = after = 0
    for seed in range(options.shuffles):
        order = np.random.default_rng(seed).permutation(sorted(people)).tolist()
        enrolled, strangers = order[: len(order) // 2], order[len(order) // 2 :]
        plain, wrong = gallery_of(people, enrolled, []), []
        for name in strangers:
            given = named(plain, people[name], point)
            places = [place for place, person in enumerate(given) if person is not None]
            if places:
                wrong.append(people[name][places[0]])
                others = people[name][places[1:]]
                also += len(others)
                still += sum(one is not None for one in named(gallery_of(people, enrolled, wrong[-1:]), others, point))
        all_corrected = gallery_of(people, enrolled, wrong)
        for name in enrolled:
            asked += len(people[name]) - 1
            before += named(plain, people[name][1:], point).count(name)
            after += named(all_corrected, people[name][1:], point).count(name)
        corrected += len(wrong)
    print(f"threshold {point.threshold}, margin {point.margin}, {options.shuffles} shuffles of {len(people)} people")
    print(f"strangers corrected: {corrected}; their other photos that were named: {also}, and still are: {still}")
    print(f"photos of enrolled people: {asked}; named right before: {before}, with all corrections: {after}")


if __name__ == "__main__":
    main()
