"""Three sites and a hub under everything that can happen between them: in the end all are equal, and nobody who was deleted is back.

A person can let this go on for longer: `python -m tests.faults.sync_storm`.
"""

from __future__ import annotations

from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from tests.faults.sync_storm import storm
from tests.support.synced_sites import World

SITES = st.integers(0, 2)
NAMES = st.sampled_from(World.NAMES)
ANY = st.integers(0, 1000)


class SitesOverOneHub(RuleBasedStateMachine):
    """People at three sites save, replace, delete, forget, rename and merge. Two backends stand in front of the hub: what is under way to
    them comes late, twice, in another order or never, and one dies with a batch half done. Clocks are wrong; sites stop and start."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()

    @rule(at=SITES, name=NAMES, photo=st.none() | st.integers(0, 3), user_id=st.sampled_from((None, None, "7", "8")))
    def save(self, at: int, name: str, photo: int | None, user_id: str | None) -> None:
        self.world.save(at, name, photo, user_id)

    @rule(at=SITES, which=ANY)
    def replace(self, at: int, which: int) -> None:
        self.world.replace(at, which)

    @rule(at=SITES, which=ANY)
    def delete(self, at: int, which: int) -> None:
        self.world.delete(at, which)

    @rule(at=SITES, name=NAMES)
    def forget(self, at: int, name: str) -> None:
        self.world.forget(at, name)

    @rule(at=SITES, name=NAMES, new=NAMES)
    def rename(self, at: int, name: str, new: str) -> None:
        self.world.rename(at, name, new)

    @rule(at=SITES, name=NAMES, into=NAMES)
    def merge(self, at: int, name: str, into: str) -> None:
        self.world.merge(at, name, into)

    @rule(at=SITES)
    def undo(self, at: int) -> None:
        self.world.undo(at)

    @rule(at=SITES)
    def send(self, at: int) -> None:
        self.world.send(at)

    @rule(which=ANY, twice=st.booleans(), is_answered=st.booleans())
    def arrive(self, which: int, *, twice: bool, is_answered: bool) -> None:
        self.world.arrive(which, twice=twice, is_answered=is_answered)

    @rule(which=ANY)
    def drop(self, which: int) -> None:
        self.world.drop(which)

    @rule(at=SITES)
    def die_in_between(self, at: int) -> None:
        self.world.die_in_between(at)

    @rule(at=SITES)
    def pull(self, at: int) -> None:
        self.world.pull(at)

    @rule(at=SITES)
    def pull_again(self, at: int) -> None:
        self.world.pull_again(at)

    @rule(at=SITES, ms=st.sampled_from((0, 20_000, -20_000, -(10**9))))
    def skew(self, at: int, ms: int) -> None:
        self.world.skew(at, ms)

    @rule(ms=st.sampled_from((1, 5000)))
    def wait(self, ms: int) -> None:
        self.world.wait(ms)

    @rule(at=SITES)
    def reopen(self, at: int) -> None:
        self.world.reopen(at)

    def teardown(self) -> None:
        try:
            self.world.settle()
        finally:
            self.world.close()


TestSitesOverOneHub = SitesOverOneHub.TestCase
TestSitesOverOneHub.settings = hypothesis_settings(
    max_examples=15, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)


def test_hubs_and_sites_are_restored_from_backups() -> None:
    """The same, drawn from a seed: a hub that is yesterday's, and a site that is."""
    for seed in range(2):
        storm(100, seed)
