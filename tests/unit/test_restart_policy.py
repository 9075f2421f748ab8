"""When a process that ended is started again: by its exit code, and how long it ran."""

from __future__ import annotations

import random

import pytest

from shared.errors import EXIT_BUG, EXIT_CONFIGURATION, EXIT_DONE, EXIT_TEMPORARY
from shared.supervision.restart_policy import FIRST_DELAY_S, HEALTHY_AFTER_S, LONGEST_DELAY_S, RestartPolicy


class _NoJitter(random.Random):
    def uniform(self, a: float, b: float) -> float:  # noqa: ARG002  # random's signature
        return 1.0


def _policy(**given: bool) -> RestartPolicy:
    return RestartPolicy(jitter=_NoJitter(), **given)


def test_the_delay_doubles_up_to_its_limit() -> None:
    """1, 2, 4 … 60 s, and never more, however often it falls."""
    policy = _policy()
    delays = [policy.delay_s(EXIT_BUG, 0.0) for _ in range(100)]
    assert delays[:7] == [FIRST_DELAY_S, 2.0, 4.0, 8.0, 16.0, 32.0, LONGEST_DELAY_S]
    assert set(delays[7:]) == {LONGEST_DELAY_S}


def test_a_healthy_minute_starts_over() -> None:
    """A process that ran for a minute has no past; one that ran a moment less has."""
    policy = _policy()
    for _ in range(5):
        policy.delay_s(EXIT_TEMPORARY, 0.0)
    assert policy.delay_s(EXIT_TEMPORARY, HEALTHY_AFTER_S - 0.1) == 32.0
    assert policy.delay_s(EXIT_TEMPORARY, HEALTHY_AFTER_S) == FIRST_DELAY_S


@pytest.mark.parametrize("code", [EXIT_DONE, EXIT_CONFIGURATION])
def test_who_was_asked_to_stop_or_needs_a_person_stays_down(code: int) -> None:
    """0 and 78 are not started again, but where a site can't do without the process."""
    assert _policy().delay_s(code, 0.0) is None
    assert _policy(gives_up=False).delay_s(code, 0.0) == FIRST_DELAY_S


@pytest.mark.parametrize("code", [1, 2, EXIT_BUG, EXIT_TEMPORARY, -9, -11])
def test_whatever_else_it_ended_with_is_tried_again(code: int) -> None:
    """A bug, a fault that may pass, a death by signal."""
    assert _policy().delay_s(code, 0.0) == FIRST_DELAY_S


def test_jitter_is_bounded() -> None:
    """Many processes that fell together do not come back together, and none waits longer than the limit."""
    policy = RestartPolicy(jitter=random.Random(3), failures=16)
    delays = {policy.delay_s(EXIT_BUG, 0.0) for _ in range(200)}
    assert len(delays) > 50
    assert all(one is not None and 0.75 * LONGEST_DELAY_S <= one <= LONGEST_DELAY_S for one in delays)
