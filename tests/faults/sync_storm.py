"""Lets three sites and a hub meet with anything, for as many steps as wanted: `python -m tests.faults.sync_storm STEPS [SEED] [RUNS]`.

Every 200 steps everybody speaks with the hub until nothing is left to say. Then all sites must be equal, and nobody back who was deleted.
`tests/component/test_sync_storm.py` does the same for half a minute.
"""

from __future__ import annotations

import argparse
import sys
from random import Random

from tests.support.synced_sites import World, happen

_BETWEEN = 200  # steps between two moments of rest


def storm(steps: int, seed: int, *, seldom: bool = True) -> None:
    """One run. Raises AssertionError, after it has printed what happened."""
    random = Random(seed)  # reproducible
    world = World(seed, keys=(True, True, random.random() < 0.7))
    done: list[str] = []
    try:
        for step in range(1, steps + 1):
            done.append(happen(world, random, seldom=seldom))
            if step % _BETWEEN == 0 or step == steps:
                world.settle()
    except BaseException:
        print(f"seed {seed}, step {len(done)}: {', '.join(done[-_BETWEEN:])}", file=sys.stderr)
        raise
    finally:
        world.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("steps", type=int)
    parser.add_argument("seed", type=int, nargs="?", default=1)
    parser.add_argument("runs", type=int, nargs="?", default=1)
    given = parser.parse_args()
    for seed in range(given.seed, given.seed + given.runs):
        storm(given.steps, seed)
        print(f"seed {seed}: {given.steps} steps, all sites equal", flush=True)


if __name__ == "__main__":
    main()
