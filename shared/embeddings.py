"""Embeddings as arrays: of unit norm, in batches with their names, and sound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.errors import (
    ConfigurationError,
    RefusedError,
)
from shared.row_checksum import row_checksums


@dataclass(frozen=True)
class Batch:
    """References to publish: parallel sequences; `references` (n, dim) float32 of unit norm."""

    row_ids: Sequence[int]
    names: Sequence[str]
    user_ids: Sequence[str | None]
    references: NDArray[np.float32]
    checksums: Sequence[int | None] | None = None  # as they were written; None: not known


class UnsoundRowError(ConfigurationError):
    """A reference that can't be one: its vector is none, or it is not as it was written."""

    def __init__(self, row: int | str, got: str, expected: str) -> None:
        super().__init__(
            "a row of embeddings is unsound",
            where=f"row {row}",
            got=got,
            expected=expected,
            remedy="delete the row or restore a backup: supervisor.py restore FILE",
        )


def require_sound(batch: Batch, start: int, references: NDArray[np.float32]) -> None:
    """Raises UnsoundRowError for the first of `references`, the rows of `batch` from `start` on, that can't be one."""
    end = start + len(references)
    norms = np.sqrt(np.vecdot(references, references))
    off = np.flatnonzero(~(np.abs(norms - 1) < NORM_TOLERANCE))  # NaN is off, too
    if len(off):
        raise UnsoundRowError(batch.row_ids[start + off[0]], f"norm {norms[off[0]]}", "norm 1")
    if batch.checksums is None:
        return
    found = row_checksums(references, batch.names[start:end], batch.user_ids[start:end]).tolist()
    if found != (written := batch.checksums[start:end]):
        for place, (one, other) in enumerate(zip(found, written, strict=True)):
            if other is not None and one != other:
                raise UnsoundRowError(batch.row_ids[start + place], f"checksum {one}", f"checksum {other}")


NORM_TOLERANCE = 1e-3


def unit_rows(vectors: NDArray[np.float32], names: Sequence[str]) -> NDArray[np.float32]:
    """`vectors` (n, dim) as float32 rows of unit L2 norm; rows that are so already are left alone, bit for bit.

    Raises RefusedError, with the row's name, for an empty, zero or non-finite one.
    """
    rows: NDArray[np.float32] = np.ascontiguousarray(vectors, dtype=np.float32)
    norms = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
    bad = np.flatnonzero(~(np.isfinite(norms) & (norms >= 1e-6)))
    if len(bad):
        raise RefusedError(
            "not an embedding",
            where=names[bad[0]],
            got="an empty, zero, NaN or infinite vector",
            expected="finite numbers",
        )
    off = np.flatnonzero(np.abs(norms - 1) > 1e-6)
    if len(off):
        rows = rows.copy()
        rows[off] = rows[off] / norms[off, None]
    return rows


def unit_vector(vector: NDArray[np.float32], where: str) -> NDArray[np.float32]:
    """`vector` flat, float32, unit L2 norm. Raises RefusedError for an empty, zero or non-finite one."""
    unit: NDArray[np.float32] = unit_rows(np.asarray(vector, dtype=np.float32).reshape(1, -1), [where])[0]
    return unit
