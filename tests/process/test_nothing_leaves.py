"""Nothing leaves the box unasked: seen from outside, by the system calls of real processes and in a namespace without a network."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.clips import write_clip
from tests.support.paths import ROOT, astronaut
from tests.support.site_process import SUPERVISOR
from tests.support.tiny_pack import write_pack

# What is known to keep libraries from reporting in tests only: with it, this test would prove nothing.
_HUSHING = ("CI", "GITHUB_ACTIONS", "TF_BUILD", "ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS")
_TO_THE_NETWORK = re.compile(r"(?:connect|sendto|sendmsg|sendmmsg)\(.*sa_family=AF_INET6?\b.*")
_WORDS = (("enrol", "Ada.png"), ("identify", "Ada.png"), ("people",), ("check",), ("run", "--until-ended"))


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site on onnxruntime with a clip for a camera, a photo to enrol, and an empty HOME beside."""
    write_pack(tmp_path / "data" / "models" / "tiny")
    write_clip(tmp_path / "clip.avi")
    shutil.copyfile(astronaut(), tmp_path / "Ada.png")
    (tmp_path / "home").mkdir()
    (tmp_path / "site.toml").write_text(
        '[recognition]\nmodel = "tiny"\n[cameras.clip]\nsource = "clip.avi"\nrealtime = false\n', encoding="utf-8"
    )
    (tmp_path / "data").chmod(0o700)
    return tmp_path


def run_all(site: Path, *before: str) -> None:
    """Every command of the list in `site`, each behind the words `before`; the photo shows nobody to this model."""
    environment = {
        key: value for key, value in os.environ.items() if key not in _HUSHING and not key.startswith("XDG_")
    }
    environment |= {"HOME": str(site / "home")}
    for words in _WORDS:
        done = subprocess.run(
            [*before, sys.executable, str(SUPERVISOR), *words],
            cwd=site,
            env=environment,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == (1 if words[0] == "enrol" else 0), (words, done.stdout + done.stderr)


def require(*words: str) -> None:
    try:
        done = subprocess.run([*words, "true"], capture_output=True, check=False, timeout=20)
    except FileNotFoundError:
        pytest.skip(f"{words[0]} is not installed")
    if done.returncode:
        pytest.skip(f"{words[0]} may not be used here: {done.stderr.decode(errors='replace').strip()}")


def test_no_process_connects_anywhere_and_home_stays_empty(site: Path) -> None:
    """Enrol, identify and a whole site under strace: no process sends a byte to the internet, and HOME holds nothing after."""
    trace = site / "trace.txt"
    traced = ("strace", "-f", "-qq", "--seccomp-bpf", "-A", "-o", str(trace), "-e", "trace=network")
    require(*traced)
    run_all(site, *traced)
    calls = trace.read_text(encoding="utf-8", errors="replace").splitlines()
    assert any("AF_UNIX" in call for call in calls), "strace saw the site's own socket"
    assert [call for call in calls if _TO_THE_NETWORK.search(call)] == []
    assert list((site / "home").rglob("*")) == []


def test_everything_works_without_a_network(site: Path) -> None:
    """In a network namespace of their own, which has nothing, not even a loopback that is up, all commands do the same."""
    alone = ("unshare", "--map-root-user", "--net") if os.geteuid() else ("unshare", "--net")
    require(*alone)
    run_all(site, *alone)
    assert list((site / "home").rglob("*")) == []


@pytest.mark.parametrize(
    "module", ["shared.embedding_db", "workers.writer", "workers.camera", "workers.recognition.onnx_session"]
)
def test_a_process_started_by_hand_is_quiet_too(module: str) -> None:
    """Whichever of our modules comes first, the variable is set before any library is loaded, also against the environment's."""
    code = f"import os, sys, {module}; print(os.environ['ORT_DISABLE_TELEMETRY'], 'onnxruntime' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "ORT_DISABLE_TELEMETRY": "0"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "False"]
