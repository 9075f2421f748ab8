"""Network cameras as they are: logins that are refused, certificates, snapshots, each against a real server."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.settings.sources import Reached
from tests.support.clips import picture, source, wait_until
from tests.support.paths import needs_dlib
from tests.support.site_process import SiteProcess, command
from tests.support.strict_camera import StrictCamera, make_certificate
from workers.capture.capture import Capture, CaptureState, Turn, Waits, upright
from workers.capture.stream_probe import Verdict, probe


def reason_of(capture: Capture, text: str, deadline_s: float = 20.0) -> str:
    """Why it is down, once that says `text`."""
    wait_until(lambda: text in (capture.status().reason or ""), text, deadline_s)
    return capture.status().reason or ""


# -- logins -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("auth", ["basic", "digest"])
@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_a_refused_login_is_not_repeated_for_minutes(tmp_path: Path, scheme: Any, auth: Any) -> None:
    """One login, then nothing for longer than any other loss waits; the next one when its time has come."""
    with StrictCamera(tmp_path, scheme, login=("viewer", "right"), auth=auth) as server:
        capture = Capture(source(server.url("viewer:wrong")), waits=Waits(refused_s=(6.0, 600.0)))
        capture.start()
        try:
            assert "user or password is wrong; tried again in" in reason_of(capture, "(401)")
            wait_until(lambda: server.logins == 2, "second try")
            first, second = server.login_times
            assert second - first > 4.5, "asked again within seconds"
        finally:
            capture.stop()
    assert server.logins == 2


def test_minutes_pass_between_refused_logins(tmp_path: Path) -> None:
    """What is announced without any setting."""
    with StrictCamera(tmp_path, "http", login=("viewer", "right")) as server:
        capture = Capture(source(server.url("viewer:wrong")))
        capture.start()
        try:
            assert "tried again in 2 min" in reason_of(capture, "(401)")
        finally:
            assert capture.stop(), "a stop does not wait for those minutes"


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
@pytest.mark.parametrize(("answer", "said"), [(403, "forbids it (403)"), (404, "no such stream (404)")])
def test_other_refusals_are_told_apart(tmp_path: Path, scheme: Any, answer: int, said: str) -> None:
    """Forbidden and not found, behind a login that is right."""
    with StrictCamera(tmp_path, scheme, login=("viewer", "right"), answer=answer) as server:
        assert said in (probe(source(server.url("viewer:right"))).reason or "")
        assert server.logins == 1


def test_a_login_that_is_missing_is_said(tmp_path: Path) -> None:
    """The camera asks for one and the source has none: no login is tried."""
    with StrictCamera(tmp_path, login=("viewer", "right")) as server:
        assert "source has none" in (probe(source(server.url())).reason or "")
        assert server.logins == 0


# -- TLS --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
@pytest.mark.parametrize(
    ("host", "named", "known", "trusted"),
    [
        ("localhost", "DNS:localhost", True, True),
        ("localhost", "DNS:other.invalid", True, False),
        ("localhost", "DNS:localhost", False, False),
        ("127.0.0.1", "IP:127.0.0.1", True, True),
        ("127.0.0.1", "DNS:other.invalid", True, True),  # the very certificate that ca_file holds
        ("127.0.0.1", "IP:127.0.0.1", False, False),
    ],
)
def test_a_tls_camera_proves_who_it_is(
    tmp_path: Path, scheme: Any, host: str, named: str, known: bool, trusted: bool
) -> None:
    """The right certificate gives pictures; another name or an unknown one gets neither password nor request."""
    certificate = make_certificate(tmp_path, "camera", named)
    reached = Reached(ca_file=certificate if known else None)
    with StrictCamera(tmp_path, scheme, login=("viewer", "hunter2"), tls=certificate) as server:
        capture = Capture(source(server.url("viewer:hunter2", host=host), reached=reached))
        capture.start()
        try:
            if trusted:
                wait_until(lambda: capture.next_frame(0.2) is not None, "picture", 30.0)
            else:
                assert "no password was sent" in reason_of(capture, "certificate can't be trusted")
                assert server.requests == []
        finally:
            capture.stop(5.0)


def test_another_cameras_certificate_does_not_do_for_a_number(tmp_path: Path) -> None:
    """FFmpeg compares no name where the host is a number: a certificate of the site's own authority is not enough."""
    other, own = make_certificate(tmp_path, "other", "IP:192.0.2.7"), make_certificate(tmp_path, "own", "IP:127.0.0.1")
    both = tmp_path / "both.pem"
    both.write_text(own.read_text() + other.read_text())
    with StrictCamera(tmp_path, "http", tls=other) as server:
        pinned = probe(source(server.url(), reached=Reached(ca_file=both)))
        unknown = probe(source(server.url(), reached=Reached(ca_file=own)))
    assert pinned.verdict is Verdict.OPEN, "it lies in ca_file itself"
    assert unknown.verdict is Verdict.DOWN


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_an_insecure_camera_works_when_that_is_asked_for(tmp_path: Path, scheme: Any) -> None:
    """tls = "insecure": whoever answers is taken."""
    certificate = make_certificate(tmp_path, "camera")
    with StrictCamera(tmp_path, scheme, login=("viewer", "hunter2"), tls=certificate) as server:
        capture = Capture(source(server.url("viewer:hunter2"), reached=Reached(tls="insecure")))
        capture.start()
        try:
            wait_until(lambda: capture.next_frame(0.2) is not None, "picture", 30.0)
        finally:
            capture.stop(5.0)


def test_a_ca_file_that_is_none_is_said(tmp_path: Path) -> None:
    """Missing or empty: in words, and nothing is sent."""
    certificate = make_certificate(tmp_path, "camera", "DNS:localhost")
    (tmp_path / "empty.pem").write_text("")
    with StrictCamera(tmp_path, "http", tls=certificate) as server:
        url = server.url(host="localhost")
        found = [probe(source(url, reached=Reached(ca_file=tmp_path / name))) for name in ("none.pem", "empty.pem")]
    assert "no such file" in (found[0].reason or "")
    assert "holds no certificate" in (found[1].reason or "")
    assert server.requests == []


# -- snapshots --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("auth", ["basic", "digest"])
def test_a_snapshot_address_is_a_camera(tmp_path: Path, auth: Any) -> None:
    """One JPEG a request: asked at the cadence, up, and never down in between."""
    with StrictCamera(tmp_path, "http", login=("viewer", "w/rd"), auth=auth, shows="snapshot") as server:
        capture = Capture(source(server.url("viewer:${P}", path="/snap.jpg?ch=1"), environ={"P": "w/rd"}), fps=5.0)
        capture.start()
        try:
            frames = [capture.next_frame(5.0) for _ in range(6)]
        finally:
            capture.stop()
        assert all(frame is not None for frame in frames)
        times = [frame.captured_at for frame in frames if frame]
        assert times[-1] - times[0] >= 0.75, "more often than the cadence asks"
        assert capture.status().lost == 0
        assert all("/snap.jpg?ch=1" in request for request in server.requests)
        refused = sum("authorization" not in request.lower() for request in server.requests)
        assert refused <= 3, "a login is answered once and then sent along"


def test_a_snapshot_camera_is_lost_and_found(tmp_path: Path) -> None:
    """It answers 503 for a while: down with the reason, then up again."""
    with StrictCamera(tmp_path, "http", shows="snapshot") as server:
        capture = Capture(source(server.url()), fps=5.0)
        capture.start()
        try:
            assert capture.next_frame(10.0)
            server.answer = 503
            assert reason_of(capture, "503")
            server.answer = 200
            wait_until(lambda: capture.next_frame(0.2) is not None, "return", 15.0)
            assert capture.status().state is CaptureState.UP
        finally:
            capture.stop()


# -- upright ----------------------------------------------------------------------------------------------------------


def test_pictures_are_turned_and_then_mirrored() -> None:
    """A quarter turn clockwise brings the top left to the top right; a mirror then back to the left."""
    image: NDArray[np.uint8] = np.zeros((2, 4, 3), np.uint8)
    image[0, 0] = 255
    turned = upright(image, Turn(rotate=90))
    assert turned.shape == (4, 2, 3)
    assert turned[0, 1].all()
    assert upright(image, Turn(90, "horizontal"))[0, 0].all()
    assert upright(image, Turn(180))[1, 3].all()
    assert upright(image, Turn(270, "vertical"))[0, 0].all()


def test_a_camera_that_hangs_upside_down(tmp_path: Path) -> None:
    """The frames that the capture gives are as the picture is to be seen."""
    with StrictCamera(tmp_path, "http", shows="snapshot", picture=lambda _: picture(1)) as server:
        capture = Capture(source(server.url()), fps=5.0, turn=Turn(180))
        capture.start()
        try:
            frame = capture.next_frame(10.0)
        finally:
            capture.stop()
    assert frame is not None
    assert frame.image[:, -10:].mean() > 200
    assert frame.image[:, :10].mean() < 50
    assert re.fullmatch(r"\(120, 160, 3\)", str(frame.image.shape))


# -- a whole site -----------------------------------------------------------------------------------------------------


def write_cameras(folder: Path, cameras: dict[str, str]) -> None:
    sections = "".join(f"[cameras.{name}]\n{body}\n" for name, body in cameras.items())
    (folder / "site.toml").write_text(f'[recognition]\nengine = "dlib"\n{sections}')


@needs_dlib
def test_a_camera_that_comes_and_goes_is_told_a_few_times(tmp_path: Path) -> None:
    """Six pictures, then it closes, again and again: the losses are counted in status, and few of them are events."""
    with StrictCamera(tmp_path, "http", most=6) as server:
        write_cameras(tmp_path, {"door": f'source = "{server.url()}"'})
        with SiteProcess(tmp_path) as site:
            site.wait_until_ready()
            site.wait_for(lambda: site.status()["cameras"]["door"]["losses"] >= 8, "eight losses", 120)
            told = [event["event"] for event in site.events if event["event"].startswith("camera_")]
            assert site.stop() == 0
    assert told.count("camera_down") == 4
    assert told.count("camera_up") == 4
    assert sum("door is" in line for line in site.log) == len(told)
    assert any("it comes and goes" in line for line in site.log)


@needs_dlib
def test_check_tells_refusals_apart_and_points_out_insecure_cameras(tmp_path: Path) -> None:
    """One line a camera: refused, not found, not to be trusted, black; one that is insecure on purpose is pointed out."""
    certificate = make_certificate(tmp_path, "camera")
    black = np.zeros((120, 160, 3), np.uint8)
    with (
        StrictCamera(tmp_path, login=("viewer", "right")) as locked,
        StrictCamera(tmp_path, "http", answer=404) as missing,
        StrictCamera(tmp_path, "http", tls=certificate) as secure,
        StrictCamera(tmp_path, "http", picture=lambda _: black) as dark,
    ):
        write_cameras(
            tmp_path,
            {
                "locked": f'source = "{locked.url("viewer:wrong")}"',
                "missing": f'source = "{missing.url()}"',
                "stranger": f'source = "{secure.url()}"',
                "trusting": f'source = "{secure.url()}"\ntls = "insecure"',
                "dark": f'source = "{dark.url()}"',
            },
        )
        done = command(tmp_path, "check")
        assert locked.logins == 1
    lines = {
        name: next((line for line in done.stdout.splitlines() if f"[cameras.{name}]" in line), "")
        for name in ("locked", "missing", "stranger", "trusting", "dark")
    }
    assert "(401)" in lines["locked"]
    assert "(404)" in lines["missing"]
    assert "certificate can't be trusted" in lines["stranger"]
    assert lines["trusting"] == ""
    assert "the picture is black" in lines["dark"]
    assert '[cameras.trusting] tls = "insecure"' in done.stderr
    assert done.returncode == 1


@pytest.mark.parametrize("auth", ["basic", "digest"])
@pytest.mark.parametrize("scheme", ["rtsp", "http"])
@pytest.mark.parametrize("word", ["p#ss/w?rd%41", "me@home two", "100%"])
def test_a_camera_takes_any_password(tmp_path: Path, scheme: Any, auth: Any, word: str) -> None:
    """Through a variable, with basic and digest: the server lets us in and pictures come."""
    with StrictCamera(tmp_path, scheme, login=("viewer", word), auth=auth) as server:
        capture = Capture(source(server.url("viewer:${P}"), environ={"P": word}))
        capture.start()
        try:
            wait_until(lambda: capture.next_frame(0.2) is not None, "picture", 20.0)
        finally:
            assert capture.stop(5.0)
