"""Turns a model's raw output into embeddings, and refuses output that is none."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.errors import RefusedError

_SMALLEST_NORM = 1e-6  # real models give 1 to 30; a smaller vector holds only rounding errors


def unit_rows(raw: NDArray[Any], model: str) -> NDArray[np.float32]:
    """`raw` (n, dim), of any float dtype, as (n, dim) float32 with rows of unit L2 norm. `model`: its name, for the error.

    Raises RefusedError when a row is zero or not finite. Normalised, it would match nobody, or be NaN and break every
    comparison.
    """
    rows = np.asarray(raw, dtype=np.float64)
    norms = np.linalg.norm(rows, axis=1)
    good = np.isfinite(norms) & (norms > _SMALLEST_NORM)
    if not good.all():
        raise RefusedError(
            f"the model gave no usable embedding for {int((~good).sum())} of {len(rows)} crops",
            where=model,
            got="a vector that is zero or not finite",
            remedy="if it happens with every face, install the model again",
        )
    return np.ascontiguousarray(rows / norms[:, None], dtype=np.float32)
