"""Valid settings that are likely to name strangers, or that name nobody. A camera logs them at its start, and `check` prints them, so
that nobody uses them by oversight."""

from __future__ import annotations

from collections.abc import Iterator

from shared.settings.camera_task import EffectiveCamera
from workers.recognition.working_point import Limits

# Cosine. So far below the model's own threshold, several per cent of strangers get a name, whatever the model.
_FAR_BELOW = 0.1
_TOO_MANY = 10.0  # times as many strangers as strangers_named


def risks_of(camera: EffectiveCamera, own_threshold: float, in_force: Limits | None) -> Iterator[str]:
    """A line for each of this camera's settings that is likely to name strangers, or that names nobody.

    `own_threshold`: the model's default, raw cosine. `in_force`: the limits with the gallery as it is now; None: not known.
    """
    if camera.threshold == 1.0:
        yield "threshold 1 names nobody: remove it, and it follows from strangers_named"
    elif in_force is not None and in_force.point.threshold == 1.0:
        yield (
            f"with this gallery, strangers_named {camera.strangers_named:g} takes a threshold of 1, which names nobody: raise strangers_named, "
            "or use a model that tells more people apart"
        )
    share = 0.0 if in_force is None else in_force.strangers.share_reaching(in_force.point.threshold)
    if camera.threshold is not None and share > _TOO_MANY * camera.strangers_named:
        yield (
            f"with this gallery, threshold {camera.threshold:g} names an estimated share of {share:.2g} of strangers, and strangers_named is "
            f"{camera.strangers_named:g}: remove threshold, and it follows from strangers_named"
        )
    elif camera.threshold is not None and camera.threshold < own_threshold - _FAR_BELOW:
        yield (
            f"threshold {camera.threshold:g} lies more than {_FAR_BELOW:g} below the model's own {own_threshold:g}: "
            "strangers will be named; see: supervisor.py calibrate"
        )
    if camera.margin == 0.0:
        yield "margin 0 names somebody also where a second person looks just as alike; see: supervisor.py calibrate"
    if camera.votes == 1:
        yield "votes 1 names somebody on a single picture; 3 and more need agreement"
