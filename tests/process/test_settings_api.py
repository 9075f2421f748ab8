"""The settings through the API: shown without secrets, checked whole, written in one step, taken back; and what can't be done. In running
sites."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from shared.records import Role
from tests.support.stores import DLIB
from tests.support.web_site import Visitor, WebSite, web_site

API = "/api/v1"
_PASSWORD = "hunter-canary"  # noqa: S105  # made up
_NOWHERE = f"rtsp://viewer:{_PASSWORD}@127.0.0.1:1/stream?token=canary-token"
_TEXT = f"""\
# The head office. The old camera was rtsp://viewer:old-canary@192.0.2.9/
{DLIB}
fps = 4.0  # enough
[cameras.door]  # the front
source = '{_NOWHERE}'
[cameras."back.door"]
source = "rtsp://viewer:${{BACK_PASSWORD}}@127.0.0.1:1/back"
enabled = false
"""


class Desk:
    """One admin's view of the settings of a running site."""

    def __init__(self, web: WebSite) -> None:
        self.web, self.admin = web, web.visitor(Role.ADMIN)
        self.file = web.site.folder / "site.toml"

    @property
    def shown(self) -> dict[str, Any]:
        document: dict[str, Any] = self.admin.get(f"{API}/settings")
        return document

    def put(self, body: dict[str, Any], etag: str | None = None) -> requests.Response:
        headers = {"If-Match": f'"{etag or self.shown["etag"]}"'}
        return self.admin.ask("PUT", f"{API}/settings", json=body, headers=headers)

    def set(self, section: str, key: str | None, value: Any = None, camera: str | None = None) -> requests.Response:
        change = {"section": section, "key": key, "value": value}
        return self.put({"changes": [change if camera is None else {**change, "camera": camera}]})

    def check(self, body: dict[str, Any]) -> dict[str, Any]:
        answer = self.admin.ask("POST", f"{API}/settings/validate", json=body)
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document

    def faults(self, text: str) -> dict[str, str]:
        """What is wrong with a text, by its place; and nothing of it is written."""
        before = self.file.read_bytes()
        told = {one["pointer"]: one["what"] for one in self.check({"text": text})["faults"]}
        refused = self.put({"text": text})
        assert refused.status_code == 409, refused.text
        assert {one.get("pointer") for one in refused.json()["errors"]} == set(told)
        assert self.file.read_bytes() == before
        return told


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with web_site(tmp_path, text=_TEXT) as web:
        yield Desk(web)


def test_secrets_are_not_sent_and_survive(desk: Desk) -> None:
    """Neither passwords nor tokens, of values or of comments, are in any answer. What comes back unchanged keeps them, byte for byte."""
    before = desk.file.read_text(encoding="utf-8")
    shown = desk.shown
    assert 'source = "rtsp://***@127.0.0.1:1/stream?***"' in shown["text"]
    assert "${BACK_PASSWORD}" in shown["text"], "the name of a variable is no secret"
    assert shown["values"]["cameras"]["door"]["source"] == "rtsp://***@127.0.0.1:1/stream?***"
    assert desk.put({"text": shown["text"]}).json()["reload"] == "none"
    assert desk.file.read_text(encoding="utf-8") == before
    saved = desk.put({"text": shown["text"].replace("fps = 4.0", "fps = 3.0")})
    assert saved.json()["reload"] == "taken", saved.text
    assert desk.file.read_text(encoding="utf-8") == before.replace("fps = 4.0", "fps = 3.0")
    versions = desk.admin.get(f"{API}/settings/versions")
    everything = [desk.admin.get(f"{API}/settings/versions/{one['id']}") for one in versions["versions"]]
    assert "canary" not in json.dumps([shown, saved.json(), versions, everything, desk.check({"text": shown["text"]})])
    assert "canary" not in "\n".join(desk.web.site.log)


def test_a_change_is_taken_at_once_and_told_for_each_process(desk: Desk) -> None:
    """One camera's setting restarts that camera only; the path of a masked source can change; a new password is told, and not shown."""
    desk.web.site.wait_for(lambda: desk.web.site.status().get("cameras"), "cameras")
    answer = desk.set("cameras", "votes", 2, "door").json()
    (result,) = answer["processes"]
    assert (answer["reload"], result["name"], result["change"]) == ("taken", "door", "restarted")
    assert result["state"] in ("down", "running")
    assert "[cameras.door]  # the front\n" in desk.file.read_text(encoding="utf-8")
    moved = desk.shown["values"]["cameras"]["door"]["source"].replace("/stream?***", "/other")
    assert desk.set("cameras", "source", moved, "door").status_code == 200
    assert f'"rtsp://viewer:{_PASSWORD}@127.0.0.1:1/other"' in desk.file.read_text(encoding="utf-8")
    other = {"section": "cameras", "camera": "door", "key": "source", "value": "rtsp://viewer:new@127.0.0.1:1/other"}
    checked = desk.check({"changes": [other]})
    assert (checked["new_secrets"], checked["faults"]) == (["[cameras.door] source"], [])
    assert [one["name"] for one in checked["effects"]] == ["door"]
    answer = desk.set("cameras", None, None, "door").json()
    assert [(one["change"], one["state"]) for one in answer["processes"]] == [("stopped", None)]
    assert "door]" not in desk.file.read_text(encoding="utf-8").replace("back.door", "")


def test_every_fault_is_told_at_once_with_its_place(desk: Desk) -> None:
    """Faults of values, of keys and of what can't be set; the diff is there all the same; a text that is no TOML has its line."""
    text = desk.shown["text"].replace("fps = 4.0", "fps = 400.0\nvotse = 3\nthreshold = 2.0")
    told = desk.faults(text + '\n[sync]\ntoken_file = "/etc/passwd"\n')
    assert told == {
        "/recognition/fps": "not a valid value",
        "/recognition/votse": "unknown key",
        "/recognition/threshold": "not a valid value",
        "/sync/token_file": "this can't be set from afar",
    }
    assert "+votse = 3" in desk.check({"text": text})["diff"]
    broken = desk.check({"text": "[site\n"})["faults"]
    assert [(one["what"], "line 1" in one["got"]) for one in broken] == [("is not valid TOML", True)]


def test_what_opens_a_path_or_a_port_is_set_in_the_file_only(desk: Desk) -> None:
    """Files, devices, our own port under any of its names, link-local addresses; data_dir, models_dir, the model, [web], [backend], [sync]."""
    port = desk.web.address.rpartition(":")[2]
    sources = (
        "/etc/passwd", "../../etc/passwd", "file:///etc/passwd", "/dev/video0", 0, f"http://127.0.0.1:{port}/metrics",
        f"http://localhost:{port}/", f"http://[::ffff:127.0.0.1]:{port}/", f"http://0.0.0.0:{port}/", f"http://2130706433:{port}/",
        "http://169.254.169.254/latest/meta-data", "http://2852039166/", "http://[fe80::1]/", "http://[::ffff:169.254.1.1]/",
        "ftp://192.0.2.1/x", "udp://224.0.0.1:1234", "concat:/etc/passwd",
    )  # fmt: skip
    for source in sources:
        refused = desk.set("cameras", "source", source, "new")
        assert refused.status_code == 409, (source, refused.text)
        assert [one["pointer"] for one in refused.json()["errors"]] == ["/cameras/new/source"], source
    changes = [
        ("site", "data_dir", "/tmp/elsewhere", None), ("recognition", "models_dir", "/etc", None),  # noqa: S108
        ("recognition", "model", "../../etc", None), ("web", "port", 9999, None), ("web", "host", "0.0.0.0", None),  # noqa: S104
        ("backend", "mongodb_uri", "mongodb://evil.example/", None), ("sync", "backend", "https://evil.example/api", None),
        ("cameras", "ca_file", "/etc/passwd", "door"),
    ]  # fmt: skip
    before = desk.file.read_bytes()
    for section, key, value, camera in changes:
        refused = desk.set(section, key, value, camera)
        assert refused.status_code == 409, (section, key, refused.text)
        told = [one for one in refused.json()["errors"] if one["what"] == "this can't be set from afar"]
        assert "on the site's machine" in told[0]["remedy"], (section, key)
    assert desk.file.read_bytes() == before


_MOVES = [
    ("@127.0.0.1:1/stream", "@evil.example/stream"),
    ("@127.0.0.1:1/stream", "@127.0.0.1:1.evil.example/stream"),
    ("@127.0.0.1:1/stream", "@127.0.0.1:2/stream"),
    ("@127.0.0.1:1/stream", "@evil.example/@127.0.0.1:1/stream"),
    ("@127.0.0.1:1/stream", "@evil.example#@127.0.0.1:1/stream"),
    ("@127.0.0.1:1/stream", "@${HOME}.evil.example/stream"),
    ('"rtsp://***@127', '"http://***@127'),
    ("[cameras.door]", "[cameras.gate]"),
    ("/stream?***", "/other?***"),
    ('"rtsp://***@', '"rtsp://***:***@'),
    ("${BACK_PASSWORD}@127.0.0.1:1", "${BACK_PASSWORD}@evil.example"),
    ("rtsp://viewer:${BACK_PASSWORD}", "http://viewer:${BACK_PASSWORD}"),
    ("viewer:${BACK_PASSWORD}", "viewer:${HOME}"),
    ("# The head office. The old camera was ", '[x]\nname = "'),
]


def test_a_stored_secret_goes_nowhere_else(desk: Desk) -> None:
    """Neither by editing an address around the mask, nor by moving it to another camera, nor by a variable of the file or of the machine."""
    text = desk.shown["text"]
    for old, new in _MOVES:
        assert old in text
        assert desk.faults(text.replace(old, new)), new


def test_a_stored_secret_does_not_go_to_whoever_answers(tmp_path: Path) -> None:
    """Turning off verification needs the password anew, also together with another path."""
    text = f'{DLIB}[cameras.door]\nsource = "rtsps://viewer:{_PASSWORD}@127.0.0.1:1/stream"\n'
    with web_site(tmp_path, text=text) as web:
        desk = Desk(web)
        shown = desk.shown["text"]
        assert set(desk.faults(shown + "")) == set() if False else True
        insecure = shown.replace('/stream"\n', '/stream"\ntls = "insecure"\n')
        assert desk.faults(insecure) == {
            "/cameras/door/tls": "the stored password would go to any machine that answers"
        }
        assert set(desk.faults(insecure.replace("/stream", "/other"))) == {"/cameras/door/tls"}
        assert desk.put({"text": insecure.replace("***", "viewer:typed")}).status_code == 200


def test_two_admins_do_not_overwrite_each_other(desk: Desk) -> None:
    """The second gets 412; without If-Match nobody changes anything; of many at once exactly one wins. An editor on the disk counts, too."""
    etag = desk.shown["etag"]
    assert desk.admin.ask("PUT", f"{API}/settings", json={"text": ""}).status_code == 428
    answers: list[int] = []

    def change(number: int) -> None:
        one = Visitor(desk.web.address, str(desk.admin.session.headers["Authorization"]).partition(" ")[2])
        body = {"changes": [{"section": "recognition", "key": "votes", "value": number}]}
        headers = {"If-Match": f'"{etag}"'}
        answers.append(one.ask("PUT", f"{API}/settings", json=body, headers=headers).status_code)

    threads = [threading.Thread(target=change, args=(number,)) for number in range(2, 8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(answers) == [200] + [412] * 5
    etag = desk.shown["etag"]
    desk.file.write_text(desk.file.read_text(encoding="utf-8") + "\n# by hand\n", encoding="utf-8")
    refused = desk.put({"text": _TEXT}, etag)
    assert (refused.status_code, refused.json()["type"]) == (412, "urn:rollcall:problem:changed-meanwhile")
    assert "# by hand" in desk.file.read_text(encoding="utf-8")


def test_versions_are_kept_bounded_and_private_and_can_be_taken_back(desk: Desk) -> None:
    """Who and when; 20 at most; 0600 in 0700; going back brings the password of then; what was edited by hand is kept first."""
    first = desk.file.read_text(encoding="utf-8")
    assert desk.set("cameras", None, None, "door").status_code == 200
    for number in range(22):
        desk.set("recognition", "min_face_px", 50 + number).raise_for_status()
    kept = desk.admin.get(f"{API}/settings/versions")["versions"]
    assert len(kept) == 20
    assert [one["current"] for one in kept] == [True] + [False] * 19
    assert {one["by"] for one in kept} == {"test"}
    folder = desk.web.site.settings.data_dir / "settings"
    assert folder.stat().st_mode & 0o777 == 0o700
    files = [one for one in folder.iterdir() if one.suffix == ".json"]
    assert len(files) == 20
    assert {one.stat().st_mode & 0o777 for one in files} == {0o600}
    desk.file.write_text(first, encoding="utf-8")
    os.kill(desk.web.site.process.pid, 1)
    assert desk.set("recognition", "votes", 4).status_code == 200
    newest, by_hand, *_ = desk.admin.get(f"{API}/settings/versions")["versions"]
    assert (newest["by"], by_hand["by"]) == ("test", None)
    assert "+votes = 4" not in desk.admin.get(f"{API}/settings/versions/{by_hand['id']}")["diff"]
    path = f"{API}/settings/versions/{by_hand['id']}/revert"
    assert desk.admin.ask("POST", path).status_code == 428
    answer = desk.admin.ask("POST", path, headers={"If-Match": f'"{desk.shown["etag"]}"'})
    assert answer.json()["reload"] == "taken", answer.text
    assert desk.file.read_text(encoding="utf-8") == first
    assert desk.admin.ask("GET", f"{API}/settings/versions/999999").status_code == 404
    assert desk.admin.ask("GET", f"{API}/settings/versions/..%2f..%2fsite").status_code in (404, 422)


def test_what_no_reload_takes_is_said(desk: Desk) -> None:
    """[site] waits for a restart, and keeps no other change from being taken; `status` names it."""
    changes = [
        {"section": "site", "key": "keep_crops_days", "value": 3},
        {"section": "recognition", "key": "votes", "value": 4},
    ]
    assert desk.check({"changes": changes})["after_restart"] == ["[site] keep_crops_days"]
    answer = desk.put({"changes": changes}).json()
    assert (answer["reload"], answer["after_restart"]) == ("taken", ["[site] keep_crops_days"])
    assert [one["name"] for one in answer["processes"]] == ["door"]
    assert desk.web.site.status()["awaits_restart"] == ["[site] keep_crops_days"]
    settings = {(one["section"], one["key"]): one for one in desk.shown["settings"]}
    assert settings["site", "keep_crops_days"]["needs_restart"]
    assert settings["web", "port"]["why_not_settable"]


def test_the_file_stays_where_and_whose_it_is(desk: Desk, tmp_path: Path) -> None:
    """Behind a symbolic link the file is replaced, not the link; mode and line ends stay; a link to something else is refused."""
    real = tmp_path / "elsewhere"
    real.mkdir()
    desk.file.rename(real / "real.toml")
    (real / "real.toml").chmod(0o640)
    desk.file.symlink_to(real / "real.toml")
    assert desk.set("recognition", "votes", 5).status_code == 200
    assert desk.file.is_symlink()
    assert (real / "real.toml").stat().st_mode & 0o777 == 0o640
    assert "votes = 5" in (real / "real.toml").read_text(encoding="utf-8")
    assert [one.name for one in real.iterdir()] == ["real.toml"]
    etag = desk.shown["etag"]
    desk.file.unlink()
    desk.file.symlink_to("/dev/zero")
    assert desk.admin.ask("GET", f"{API}/settings").status_code == 500
    assert desk.put({"text": ""}, etag).status_code == 500
    desk.file.unlink()
    (real / "real.toml").rename(desk.file)


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """As under a unit that has the folder read-only: what to do is told, a change is refused and leaves nothing behind. What is shown goes on."""
    folder = tmp_path / "etc"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "none", folder], capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount")
    try:
        with web_site(folder, text=f'{DLIB}[site]\ndata_dir = "{tmp_path / "data"}"\n') as web:
            desk = Desk(web)
            assert not desk.shown["read_only"]
            subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
            fault = desk.shown["read_only"]
            assert (fault["where"], fault["got"]) == (str(folder), "read-only")
            assert f"ReadWritePaths={folder}" in fault["remedy"]
            refused = desk.set("recognition", "votes", 5)
            assert (refused.status_code, refused.json()["errors"]) == (
                409,
                [{key: value for key, value in fault.items() if value is not None}],
            )
            assert desk.admin.get(f"{API}/settings/versions")["versions"] == []
            assert desk.check({"text": desk.shown["text"]})["faults"] == []
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_a_huge_or_odd_body_is_refused(desk: Desk) -> None:
    """Beyond the limits it is not read; nested or odd documents are refused in words."""
    before = desk.file.read_bytes()
    assert desk.put({"text": "x" * (80 << 10)}).status_code in (413, 422)
    for text in ("[" * 50_000, "x = " + "9" * 50_000, "\0", "a" * 50_000 + " = 1", "\n" * 20_000):
        assert desk.put({"text": text}).status_code == 409, text[:20]
    odd = {"section": "cameras", "camera": "../../etc", "key": "source", "value": "rtsp://192.0.2.1/x"}
    assert desk.put({"changes": [odd]}).status_code == 409
    assert desk.put({"changes": [{"section": "cameras", "key": "source", "value": "x"}]}).status_code == 422
    assert desk.file.read_bytes() == before
    assert not re.search("Traceback|failed", "\n".join(desk.web.site.log))


def test_who_sees_some_cameras_only_sees_no_settings(desk: Desk) -> None:
    """They are the whole site's."""
    assert desk.web.visitor(Role.ADMIN, ["door"]).ask("GET", f"{API}/settings").status_code == 403
