"""A whole site under deploy/rollcall.service: a real systemd starts, reloads and stops the very file that we ship."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.booted_machine import CONFIG, PYTHON, STATE, Machine, booted, install, why_not
from tests.support.paths import FACES, ROOT, SMALL_PACK, VIDEOS, needs_data

pytestmark = [
    needs_data,
    pytest.mark.skipif(why_not() is not None, reason=str(why_not())),
    pytest.mark.timeout(420),
]

_ROWS = 70_000  # 34 MiB of codes: a reader gives a generation of this size to a thread of its own
_FRIENDS = {path.stem for path in (FACES / "friends_enrol").iterdir()} if FACES.is_dir() else set()
_LATER = "Joey"
_SHARED_MEMORY = ("/dev/shm", "-mindepth", "1")  # noqa: S108  # where the block's files lie
_CLIP = f"{STATE}/clip.mp4"
_PHOTOS = "/home/operator/my photos: people"
_SETTINGS = f"""\
[site]
name = "under the unit"
data_dir = "{STATE}"
[recognition]
model = "{SMALL_PACK.name}"
[cameras.sofa]
source = "{_CLIP}"
loop = true
"""
_SECOND_CAMERA = f'[cameras.door]\nsource = "{_CLIP}"\nloop = true\nfps = 2.0\n'
_FILL = f"""
import numpy
from shared import embedding_db
many = numpy.random.default_rng(7).standard_normal(({_ROWS}, 512), dtype=numpy.float32)
embedding_db.save_embeddings_batch([(f"crowd {{i // 10}}", row, None, None) for i, row in enumerate(many)])
"""


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with booted(tmp_path / "machine") as machine:
        install(machine)
        machine.write(CONFIG, _SETTINGS, mode=0o640, owner="rollcall")
        script = (ROOT / "deploy" / "rollcall-sandboxed").read_bytes()
        machine.write("/usr/local/sbin/rollcall-sandboxed", script, mode=0o755)
        for source, target in (
            (SMALL_PACK, f"{STATE}/models/{SMALL_PACK.name}"),
            (FACES / "friends_enrol", _PHOTOS),
        ):
            shutil.copytree(source, machine.root / target.lstrip("/"), copy_function=shutil.copyfile)
        shutil.copyfile(VIDEOS / "friends_in_video.mp4", machine.root / _CLIP.lstrip("/"))
        machine.run("chown", "-R", "rollcall:rollcall", STATE)
        machine.run("chmod", "-R", "u+rwX,a+rX", STATE, _PHOTOS)
        machine.run("chmod", "0700", STATE)
        yield machine


def _until(found: Callable[[], Any], what: str, machine: Machine, deadline_s: float = 90.0) -> Any:
    """What `found` returns once it is true. Each look is a command of its own, which takes its second."""
    end = time.monotonic() + deadline_s
    while not (answer := found()):
        assert time.monotonic() < end, f"no {what} within {deadline_s} s:\n{machine.journal('rollcall')[-6000:]}"
    return answer


def _status(machine: Machine) -> dict[str, Any]:
    done = machine.rollcall("status", "--json", expect=None)
    status: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 else {}
    return status


def _runs_on(machine: Machine) -> set[str]:
    """What runs the models of the cameras that are up."""
    return {str(one["runs_on"]) for one in _status(machine)["cameras"].values() if one["up"]}


def _events(machine: Machine) -> list[dict[str, Any]]:
    """What the site has kept; nothing while its writer is being replaced."""
    done = machine.rollcall("events", "--json", expect=None)
    return [json.loads(line) for line in done.stdout.splitlines()] if done.returncode == 0 else []


def _named(machine: Machine, after_id: int = 0) -> set[str]:
    events = _events(machine)
    return {event["person"] for event in events if event["event"] == "named" and event["id"] > after_id}


def _sandboxed(machine: Machine, *words: str) -> str:
    """A command inside the unit's restrictions, beside the running site, as docs/operating.md types it."""
    return machine.run("/usr/local/sbin/rollcall-sandboxed", *words, "--json").stdout


def test_a_whole_site_runs_under_the_unit(machine: Machine) -> None:
    """Started, enrolled into, its writer replaced with 70,000 references, the new generation followed, reloaded, stopped."""
    machine.rollcall("enrol", _PHOTOS)
    machine.rollcall("forget", _LATER)
    machine.run("env", f"ROLLCALL_CONFIG={CONFIG}", "PYTHONPATH=/opt/rollcall", PYTHON, "-c", _FILL, user="rollcall")

    machine.run("systemctl", "start", "rollcall", timeout_s=180)
    assert machine.show("rollcall", "ActiveState", "SubState") == {"ActiveState": "active", "SubState": "running"}
    first = _until(lambda: _named(machine), "named sighting", machine)
    assert first <= _FRIENDS - {_LATER}
    before = _status(machine)
    assert before["gallery"]["references"] > _ROWS

    writer = before["writer"]["pid"]
    machine.run("kill", f"-{signal.SIGKILL.value}", str(writer))
    replaced = _until(
        lambda: (s := _status(machine)).get("writer", {}).get("pid") not in (None, writer) and s, "new writer", machine
    )
    assert replaced["gallery"]["generation"] > before["gallery"]["generation"]

    last = _until(lambda: _events(machine), "answer of the new writer", machine)[-1]["id"]
    _sandboxed(machine, "enrol", f"{_PHOTOS}/{_LATER}.png")
    _until(lambda: _LATER in _named(machine, last), f"{_LATER} on the camera that was there before", machine)
    assert _status(machine)["cameras"]["sofa"]["restarts"] == 0

    machine.write(CONFIG, _SETTINGS + _SECOND_CAMERA, mode=0o640, owner="rollcall")
    machine.run("systemctl", "reload", "rollcall")
    _until(lambda: _status(machine)["cameras"].get("door", {}).get("state") == "running", "second camera", machine)
    assert machine.show("rollcall", "NRestarts") == {"NRestarts": "0"}

    shared = (_SETTINGS + _SECOND_CAMERA).replace("[recognition]\n", "[recognition]\nshared_engine = true\n")
    machine.write(CONFIG, shared, mode=0o640, owner="rollcall")
    machine.run("systemctl", "reload", "rollcall")
    _until(lambda: _runs_on(machine) == {"shared: cpu"}, "engine for both cameras", machine)
    last = _events(machine)[-1]["id"]
    _until(lambda: _named(machine, last), "sighting by the shared engine", machine)

    machine.rollcall("forget", "Monica")
    machine.run("systemctl", "stop", "rollcall", timeout_s=120)
    ended = machine.show("rollcall", "Result", "ActiveState", "ExecMainStatus")
    assert ended == {"Result": "success", "ActiveState": "inactive", "ExecMainStatus": "0"}
    assert machine.run("find", *_SHARED_MEMORY).stdout == ""

    journal = machine.journal("rollcall")
    assert "the site runs" in journal
    assert "Traceback" not in journal
    assert "not permitted" not in journal
    names = [name for name in (*_FRIENDS, "crowd") if name in journal]
    assert names == [], "a person's name is in the journal, which `forget` can't reach"
    kept = set(machine.run("ls", "-A", STATE).stdout.split())
    assert {name for name in kept if name.startswith(".")} == set(), "its home has no caches and no traces of libraries"


def test_what_only_a_person_can_mend_stays_down(machine: Machine) -> None:
    """A faulty site.toml is one line in the journal and exit code 78, which systemd does not try again."""
    machine.write(CONFIG, '[site]\nnmae = "x"\n', mode=0o640, owner="rollcall")
    machine.run("systemctl", "start", "rollcall", expect=1)
    ended = machine.show("rollcall", "ActiveState", "ExecMainStatus", "NRestarts")
    assert ended == {"ActiveState": "failed", "ExecMainStatus": "78", "NRestarts": "0"}
    assert "nmae" in machine.journal("rollcall")
