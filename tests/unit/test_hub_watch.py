"""Waiting for news: who is woken by what."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from workers.hub import watch as watching
from workers.hub.watch import Watch

_LONG_S = 30.0


@pytest.fixture(autouse=True)
def looks_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that only what is told wakes anybody in time."""
    monkeypatch.setattr(watching, "_LOOK_EVERY_S", 10 * _LONG_S)


def run(scene: Callable[[Watch, dict[str, int], list[int]], Awaitable[None]]) -> None:
    """A scene with a watch, what the database has, and how often it was looked at."""

    async def play() -> None:
        heads, looks = {"a": 1}, [0]

        async def look() -> dict[str, int]:
            looks[0] += 1
            return dict(heads)

        watch = Watch(look)
        task = asyncio.create_task(watch.run())
        await scene(watch, heads, looks)
        task.cancel()

    asyncio.run(play())


async def _turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def test_what_is_told_wakes_those_who_wait_at_once() -> None:
    """Once there is something new, and not before."""

    async def scene(watch: Watch, heads: dict[str, int], _: list[int]) -> None:
        waiting = [asyncio.create_task(watch.wait({"a": 1}, _LONG_S)) for _ in range(3)]
        await _turns()
        watch.tell()
        await _turns()
        assert not any(one.done() for one in waiting)
        heads["b"] = 1
        watch.tell()
        async with asyncio.timeout(_LONG_S / 2):
            await asyncio.gather(*waiting)

    run(scene)


def test_nobody_looks_while_nobody_waits() -> None:
    async def scene(watch: Watch, _: dict[str, int], looks: list[int]) -> None:
        watch.tell()
        await _turns()
        assert looks == [0]
        await watch.wait({"a": 1}, 0.01)
        seen = looks[0]
        watch.tell()
        await _turns()
        assert looks[0] <= seen + 1, "at most the look that was under way"

    run(scene)


def test_the_time_is_kept_and_a_stop_lets_everybody_go() -> None:
    """Also those who come after it."""

    async def scene(watch: Watch, _: dict[str, int], __: list[int]) -> None:
        began = time.monotonic()
        await watch.wait({"a": 1}, 0.05)
        assert time.monotonic() - began >= 0.05
        waiting = asyncio.create_task(watch.wait({"a": 1}, _LONG_S))
        await _turns()
        watch.stop()
        async with asyncio.timeout(_LONG_S / 2):
            await waiting
            await watch.wait({"a": 1}, _LONG_S)

    run(scene)
