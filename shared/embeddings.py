"""Embeddings as arrays: scaling to unit norm, batches of references with names, and the check that they are sound."""

from __future__ import annotations

import base64
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
    """n references: row ids, people's names and user ids, and `references` (n, dim) float32 of unit L2 norm."""

    row_ids: Sequence[int]
    names: Sequence[str]
    user_ids: Sequence[str | None]
    references: NDArray[np.float32]
    checksums: Sequence[int | None] | None = None  # stored when the rows were written; None: not known


class UnsoundRowError(ConfigurationError):
    """A stored reference can't be used: its vector is unsound, or it differs from what was written."""

    def __init__(self, row: int | str, got: str, expected: str) -> None:
        super().__init__(
            "a row of embeddings is unsound",
            where=f"row {row}",
            got=got,
            expected=expected,
            remedy="delete the row or restore a backup: supervisor.py restore FILE",
        )


def require_sound(batch: Batch, start: int, references: NDArray[np.float32]) -> None:
    """Raise UnsoundRowError for the first unsound one of `references`, which are the rows of `batch` from `start` on.

    Checked are the norm, and the checksum if `batch` has them.
    """
    end = start + len(references)
    norms = np.sqrt(np.vecdot(references, references))
    off = np.flatnonzero(~(np.abs(norms - 1) < NORM_TOLERANCE))  # written so that NaN is unsound, too
    if len(off):
        raise UnsoundRowError(batch.row_ids[start + off[0]], f"norm {norms[off[0]]}", "norm 1")
    if batch.checksums is None:
        return
    found = row_checksums(references, batch.names[start:end], batch.user_ids[start:end]).tolist()
    if found != (written := batch.checksums[start:end]):
        for place, (now, before) in enumerate(zip(found, written, strict=True)):
            if before is not None and now != before:
                raise UnsoundRowError(batch.row_ids[start + place], f"checksum {now}", f"checksum {before}")


NORM_TOLERANCE = 1e-3


def unit_rows(vectors: NDArray[np.float32], names: Sequence[str]) -> NDArray[np.float32]:
    """`vectors` (n, dim) as float32 rows of unit L2 norm. Rows that have it already stay the same, bit for bit.

    Raises RefusedError, with the row's name of `names`, for an empty, zero or non-finite row.
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
    """`vector` as (dim,) float32 of unit L2 norm. Raises RefusedError, with `where`, for an empty, zero or non-finite vector."""
    unit: NDArray[np.float32] = unit_rows(np.asarray(vector, dtype=np.float32).reshape(1, -1), [where])[0]
    return unit


def cosines(some: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, m) The cosine of each of `some` (n, dim) with each of `others` (m, dim); float32, unit L2 norm.

    For processes that stay: each pair is computed by itself. A product of matrices is faster for many rows, but leaves copies of them in the
    memory that the BLAS library keeps for itself, where nobody could wipe a forgotten person.
    """
    scores: NDArray[np.float32] = np.vecdot(some[:, None], others[None])
    return scores


def as_text(vector: NDArray[np.float32]) -> str:
    """`vector` (dim,) as base64 of little-endian float32, for JSON."""
    return base64.b64encode(np.ascontiguousarray(vector, "<f4").tobytes()).decode()


def from_text(text: str, where: str) -> NDArray[np.float32]:
    """The vector of `as_text`, as (dim,) float32 of unit L2 norm. Raises RefusedError, with `where`, or ValueError if it is malformed."""
    return unit_vector(np.frombuffer(base64.b64decode(text, validate=True), "<f4"), where)
