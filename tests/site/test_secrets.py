"""Passwords of cameras stay in: a whole site is run on hostile ones, and everything that it shows is searched."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from tests.support.paths import needs_dlib
from tests.support.site_process import SiteProcess, command
from tests.support.strict_camera import StrictCamera

CANARIES = {
    "PW_SLASH": "S3crG/canaryslash",
    "PW_HASH": "canaryhash#x?y",
    "PW_SPACE": "canary space@at",
    "PW_PERCENT": "%41canarypercent%",
    "PW_PATH": "canarypath/a&b",
    "PW_HOST": "canary host/ no address",
}
LITERAL = "canaryliteral"
HIDDEN = ["canary", "S3crG"]


@needs_dlib
def test_no_password_leaves_a_site(tmp_path: Path) -> None:
    """Neither journal, status, events, database, command lines, titles nor `check` hold any part of one."""
    with StrictCamera(tmp_path, "http", login=("viewer", "other")) as server:
        address = f"127.0.0.1:{server.port}"
        sources = {
            "slash": "rtsp://viewer:${PW_SLASH}@127.0.0.1:9/s",
            "hash": f"http://viewer:${{PW_HASH}}@{address}/s",
            "space": "rtsp://viewer:${PW_SPACE}@127.0.0.1:9/s",
            "percent": f"http://viewer:${{PW_PERCENT}}@{address}/s?token=${{PW_PATH}}",
            "path": "rtsp://127.0.0.1:9/user=admin&password=${PW_PATH}&channel=1",
            "literal": f"rtsp://viewer:{LITERAL}/{LITERAL}@127.0.0.1:9/s",
            "dvr": f"rtsp://127.0.0.1:9/user=admin&password={LITERAL}&channel=1",
            "broken": "rtsp://viewer:x@${PW_HOST}/s",
        }
        cameras = "".join(f'[cameras.{name}]\nsource = "{text}"\n' for name, text in sources.items())
        (tmp_path / "site.toml").write_text(f'[recognition]\nengine = "dlib"\n{cameras}')
        with SiteProcess(tmp_path, **CANARIES) as site:
            down = set(sources) - {"broken"}
            site.wait_for(
                lambda: {event["camera"] for event in site.events if event["event"] == "camera_down"} >= down,
                "losses",
                120,
            )
            site.wait_for_log("broken: ended with exit code 78", 60)
            status = str(site.wait_for(lambda: (s := site.status()).get("cameras", {}).get("slash") and s, "status"))
            argv = str([[child.name(), *child.cmdline()] for child in site.children()])
            events = command(tmp_path, "events", "--json").stdout
            checked = command(tmp_path, "check", timeout_s=120, **CANARIES)
            assert site.stop() == 0
    with sqlite3.connect(tmp_path / "data" / "face_embeddings.db") as database:
        rows = "\n".join(database.iterdump())
    shown = {
        "log": "\n".join(site.log), "stdout": str(site.events), "status": status, "argv": argv, "events": events,
        "check": checked.stdout + checked.stderr, "database": rows,
    }  # fmt: skip  # a place a word
    for place, text in shown.items():
        assert text, place
        for word in HIDDEN:
            assert word not in text, f"{word} in {place}: {text}"
    assert checked.stdout.count("the camera gives no picture") == len(down)
    assert "rtsp://viewer:${PW_SLASH}@127.0.0.1:9/s" in shown["log"]
    assert "camera slash" in argv
