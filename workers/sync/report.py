"""What one exchange did."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

_MAX_REASONS = 20


@dataclass
class Report:
    """`sent`, `received`: items; `taken`: those of them that were new here. `refused_here`, `refused_there`: how often for which reason.
    `unshown`: references that a server which knows the plain wire only took and does not show; None: our own hub, which says what it has.
    """

    sent: int = 0
    received: int = 0
    taken: int = 0
    sightings_sent: int = 0
    requests: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0
    unshown: int | None = None
    refused_here: dict[str, int] = field(default_factory=dict)
    refused_there: dict[str, int] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        """Whether all that is to be elsewhere is known to be there."""
        return not self.unshown

    def note_refused(self, where: dict[str, int], reason: str) -> None:
        """Count a refusal in `refused_here` or `refused_there`."""
        if reason in where or len(where) < _MAX_REASONS:
            where[reason] = where.get(reason, 0) + 1

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
