"""A model's raw output made into embeddings, and what is no embedding told apart."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.errors import RefusedError

_SMALLEST_NORM = 1e-6  # real models give 1 to 30; below this only rounding noise would be normalised


def unit_rows(raw: NDArray[Any], model: str) -> NDArray[np.float32]:
    """`raw` (n, dim), any float dtype, as float32 rows of unit L2 norm.

    Raises RefusedError when a row is zero or not finite: normalised it would match nobody, or, as NaN, break every
    comparison it takes part in.
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
