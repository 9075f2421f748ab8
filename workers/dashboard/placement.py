"""What to do about where a camera hangs, from the faces that it saw lately. Pure: figures in, advice out."""

from __future__ import annotations

from dataclasses import dataclass

from shared.status import REFUSALS, CameraStatus

# With fewer faces chance decides: of 20, five that could not be used are a quarter, give or take a tenth.
NEEDED = 20
_MANY = 0.25  # from this share of faces on a reason is worth a word
_FEW = 0.1  # below this share of faces that could not be used, all is well
# What to do, by the part of quality that refuses the faces.
_ADVICE = {
    "size": "nearer",
    "pose": "facing",
    "sharpness": "sharper",
    "brightness": "light",
    "detector": "covered",
}


@dataclass(frozen=True)
class Advice:
    """One thing to do. `code`: nearer, facing, sharper, light, covered, or well (nothing). `share`: of the faces that could not be used for this
    reason; with "well": of all that could not."""

    code: str
    share: float


@dataclass(frozen=True)
class Placement:
    """What was seen lately, and what follows. `seen`: faces; with fewer than `needed` there is no advice. `median_px`: their width, each at its
    largest. `refused`: how many could not be used, by the part of quality."""

    seen: int
    needed: int
    median_px: float | None
    refused: dict[str, int]
    advice: list[Advice]


def placement_of(camera: CameraStatus) -> Placement:
    """The advice for one camera."""
    refused = {part: int(getattr(camera, f"recent_{part}")) for part in REFUSALS}
    seen = camera.recent_seen
    advice: list[Advice] = []
    if seen >= NEEDED:
        shares = sorted(((count / seen, part) for part, count in refused.items()), reverse=True)
        advice = [Advice(_ADVICE[part], round(share, 3)) for share, part in shares if share >= _MANY]
        lost = sum(refused.values()) / seen
        if not advice and lost < _FEW:
            advice = [Advice("well", round(lost, 3))]
    return Placement(seen, NEEDED, camera.recent_px_p50, refused, advice)
