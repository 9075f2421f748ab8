"""Decides when a process that has ended is restarted. Pure: it reads no clock and touches no process.

The exit code decides (see errors.py). 0 means that the process was asked to stop, and 78 that a person has to change something: no
restart. After any other exit code, and after a death by a signal, the process is restarted after a wait. The wait doubles from 1 to 60 s,
has jitter, and starts at 1 s again after a healthy minute.
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
    """The restarts of one process. `jitter` gives a random factor for each wait. `gives_up`: False for a process that a site needs; it is
    then restarted after every exit code."""

    jitter: random.Random = field(default_factory=random.Random)
    failures: int = 0
    gives_up: bool = True

    def delay_s(self, exit_code: int, uptime_s: float) -> float | None:
        """How many seconds to wait before the process is restarted; None: it is not restarted."""
        if self.gives_up and exit_code in (EXIT_DONE, EXIT_CONFIGURATION):
            return None
        if uptime_s >= HEALTHY_AFTER_S:
            self.failures = 0
        delay = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0**self.failures)
        self.failures = min(self.failures + 1, 16)
        return min(LONGEST_DELAY_S, delay * self.jitter.uniform(0.75, 1.25))
