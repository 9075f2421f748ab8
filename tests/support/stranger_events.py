"""Events of strangers as a camera sends them, for tests."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.support.vectors import noise, unit

MODEL = "a" * 64
JPEG = b"\xff\xd8\xff\xe0 pixels of a stranger"


def trace(vector: NDArray[np.float32], quality: float = 0.5, photo: bytes = JPEG) -> dict[str, Any]:
    blob = vector.astype("<f4").tobytes()
    return {
        "embedding": base64.b64encode(blob).decode(),
        "quality": quality,
        "photo": base64.b64encode(photo).decode(),
    }


def near(rng: np.random.Generator, vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """(dim,): another look of the same face, cosine about 0.86; of two such looks about 0.73."""
    look: NDArray[np.float32] = unit(vector[None] + np.float32(0.6) * noise(rng, 1, len(vector)))[0]
    return look


def seen(
    key: str,
    *traces: dict[str, Any],
    kind: str = "unknown",
    camera: str = "door",
    track: int = 1,
    time: str = "2026-01-31T08:00:00.000Z",
    **fields: Any,
) -> dict[str, Any]:
    """An `unknown` event, or what `kind` says, with these traces."""
    empty = dict.fromkeys(("user_id", "media_time_s", "person", "score", "margin", "frames", "box"))
    private = {"traces": list(traces), "fingerprint": MODEL, "alike": 0.45} if traces else {}
    if kind == "left":
        fields = {"verdict": "unknown", "started": time, "ended": time, "duration_s": 1.0} | fields
    event = {"key": key, "event": kind, "time": time, "camera": camera, "track": track, **empty, **private}
    return event | fields
