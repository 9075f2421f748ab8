"""Proves a generation of the gallery block sound, from what lies in it alone."""

from __future__ import annotations

import numpy as np

from shared.gallery_block import Segment


def check_segment(segment: Segment, rows: int) -> list[str]:
    """What is unsound in `rows` published rows: norms, codes, persons, names; one line each."""
    faults: list[str] = []
    live = np.flatnonzero(segment.persons[:rows] >= 0)
    for chunk in np.array_split(live, max(1, len(live) // 16384)):
        references = segment.references[chunk]
        norms = np.linalg.norm(references, axis=1)
        faults += [
            f"block: row {row}: norm {norm:.6f}" for row, norm in zip(chunk, norms, strict=True) if abs(norm - 1) > 1e-3
        ]
        rest = np.linalg.norm(references - segment.codes[chunk] * segment.scales[chunk, None], axis=1)
        faults += [
            f"block: row {row}: codes are of another vector" for row in chunk[rest > segment.errors[chunk] + 1e-5]
        ]
    ids = segment.row_ids[live]
    if len(np.unique(ids)) != len(ids):
        faults.append("block: a reference is published twice")
    wiped = np.flatnonzero(segment.scales[:rows] == 0)
    faults += [f"block: row {row}: wiped and alive" for row in wiped[segment.persons[wiped] >= 0]]
    for chunk in np.array_split(wiped, max(1, len(wiped) // 16384)):
        left = segment.references[chunk].any(axis=1) | segment.codes[chunk].any(axis=1)
        faults += [f"block: row {row}: wiped, and holds something" for row in chunk[left]]
    faults += [
        f"block: person {index} has no name" for index in np.unique(segment.persons[live]) if not segment.names[index]
    ]
    return faults
