"""A camera for tests: an RTSP server in its own process, which can be switched off and on again."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import pytest
from numpy.typing import NDArray

SYSTEM_PYTHON = "/usr/bin/python3"
_PROBE = """
import gi
for name in ("Gst", "GstRtspServer"):
    gi.require_version(name, "1.0")
from gi.repository import Gst, GstRtspServer
Gst.init(None)
wanted = ("multifilesrc", "jpegdec", "x264enc", "rtph264pay", "rtph265pay", "qtdemux", "tsdemux", "h264parse")
missing = [name for name in wanted if not Gst.ElementFactory.find(name)]
raise SystemExit(f"GStreamer has no {missing}" if missing else 0)
"""


@cache
def why_no_server() -> str | None:
    """What is missing for an RTSP server on this machine; None: nothing."""
    if not Path(SYSTEM_PYTHON).exists():
        return f"there is no {SYSTEM_PYTHON}"
    done = subprocess.run([SYSTEM_PYTHON, "-c", _PROBE], capture_output=True, text=True, check=False, timeout=30)
    return None if done.returncode == 0 else (done.stderr.strip().splitlines() or ["gi does not load"])[-1]


def require_server() -> None:
    """Skip the test, with the reason, where no RTSP server can run."""
    if reason := why_no_server():
        pytest.skip(
            f"no RTSP server: {reason}; apt install gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-plugins-*"
        )


def write_pictures(folder: Path, pictures: Iterable[NDArray[Any]]) -> Path:
    """The folder of JPEGs that the server plays in a loop."""
    folder.mkdir()
    for number, picture in enumerate(pictures):
        cv2.imwrite(str(folder / f"{number:05d}.jpg"), picture)
    return folder


class RtspCamera:
    """`start`, `stop` and `freeze` it; its `url` stays the same. `folder`: what it plays, see rtsp_server.py. `login`: user and
    password."""

    def __init__(self, folder: Path, fps: int = 12, login: tuple[str, str] | None = None) -> None:
        self._folder, self._fps, self._login = folder, fps, login or ()
        self._port = 0
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return self.url_for(*self._login)

    def url_for(self, user: str = "", password: str = "") -> str:  # the tests' own logins
        return (
            f"rtsp://{user}:{password}@127.0.0.1:{self._port}/live" if user else f"rtsp://127.0.0.1:{self._port}/live"
        )

    def start(self) -> RtspCamera:
        """Returns once clients can connect."""
        self._process = subprocess.Popen(
            [
                SYSTEM_PYTHON,
                str(Path(__file__).with_name("rtsp_server.py")),
                str(self._folder),
                str(self._fps),
                str(self._port),
                *self._login,
            ],
            stdout=subprocess.PIPE,
            text=True,
            env={name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
        )
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            assert selector.select(20.0), "the RTSP server does not start"
        self._port = int(self._process.stdout.readline())
        return self

    def stop(self) -> None:
        """As when its plug is pulled."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def freeze(self, frozen: bool) -> None:
        """Connections stay open and nothing comes through them."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP if frozen else signal.SIGCONT)

    def __enter__(self) -> RtspCamera:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
