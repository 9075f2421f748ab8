"""Invented embeddings for tests. Each person is a cluster, as with real embeddings."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of `vectors` (n, dim) with unit L2 norm."""
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def noise(rng: np.random.Generator, rows: int, dim: int = 512) -> NDArray[np.float32]:
    """(rows, dim) random unit vectors."""
    return unit(rng.standard_normal((rows, dim)).astype(np.float32))


def people(rng: np.random.Generator, persons: int, each: int, dim: int = 512) -> NDArray[np.float32]:
    """(persons * each, dim): `each` references a person, cosine about 0.6 between two of the same person."""
    centres = np.repeat(noise(rng, persons, dim), each, axis=0)
    return unit(centres + noise(rng, persons * each, dim) * np.float32(0.82))
