"""When a process that ended is started again. Pure: no clock, no process.

The exit code decides (see errors.py): 0 was asked to stop and 78 needs a person, so neither is started again; everything else,
a death by signal too, is tried again after a backoff with jitter that doubles from 1 to 60 s and starts over after a healthy minute.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from shared.errors import EXIT_CONFIGURATION, EXIT_DONE

FIRST_DELAY_S = 1.0
LONGEST_DELAY_S = 60.0
HEALTHY_AFTER_S = 60.0


@dataclass
class RestartPolicy:
    """One process's restarts. `jitter` gives a factor for each delay; `gives_up`: False, where a site can't do without it."""

    jitter: random.Random = field(default_factory=random.Random)
    failures: int = 0
    gives_up: bool = True

    def delay_s(self, exit_code: int, uptime_s: float) -> float | None:
        """Seconds to wait before the process that ended so is started again; None: it is not."""
        if self.gives_up and exit_code in (EXIT_DONE, EXIT_CONFIGURATION):
            return None
        if uptime_s >= HEALTHY_AFTER_S:
            self.failures = 0
        delay = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0**self.failures)
        self.failures = min(self.failures + 1, 16)
        return min(LONGEST_DELAY_S, delay * self.jitter.uniform(0.75, 1.25))
