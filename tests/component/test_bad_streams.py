"""Streams that are not as they should be: seen if they can be, down with a reason if not, and bounded in any case."""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count, pairwise
from pathlib import Path

import av
import numpy as np
import psutil
import pytest
from PIL import Image as Pictures

from tests.support.camera_streams import ffmpeg
from tests.support.clips import number_of, picture, source, wait_until, write_clip
from tests.support.http_pages import HttpPages, Page
from tests.support.rtsp_camera import RtspCamera, require_server
from tests.support.strict_camera import StrictCamera
from workers.capture.capture import Capture, CaptureState, Frame, Waits

_SHORT = Waits(open_s=3.0, read_s=2.0)
_PICTURES = "testsrc2=s=320x240:r=25"


def reason_for(text: str | Path, deadline_s: float = 30.0) -> str:
    """Why a source is down, as soon as that is said."""
    capture = Capture(source(text), waits=_SHORT)
    capture.start()
    try:
        wait_until(lambda: capture.status().reason, "reason", deadline_s)
        return capture.status().reason or ""
    finally:
        capture.stop()


def frames_of(path: Path, *, realtime: bool = False) -> list[Frame]:
    """Every frame of a file."""
    capture = Capture(source(path), realtime=realtime)
    capture.start()
    try:
        return list(iter(lambda: capture.next_frame(10.0), None))
    finally:
        capture.stop()


def served(make: Callable[[], Iterator[bytes]], content_type: str = "application/octet-stream") -> HttpPages:
    return HttpPages({"/live": Page(content_type, make)})


def forever(part: bytes) -> Callable[[], Iterator[bytes]]:
    def parts() -> Iterator[bytes]:
        while True:
            yield part

    return parts


# -- no video ---------------------------------------------------------------------------------------------------------


def test_a_stream_of_sound_is_down(tmp_path: Path) -> None:
    """A file and an RTSP stream with sound alone: said, and not waited for."""
    require_server()
    ffmpeg("-f", "lavfi", "-i", "sine=d=2", str(tmp_path / "tone.mp4"))
    assert "no video" in reason_for(tmp_path / "tone.mp4")
    with RtspCamera(Path("sound")) as server:
        assert "video" in reason_for(server.url)


@pytest.mark.parametrize("kind", ["text/plain", "multipart/x-mixed-replace; boundary=x", "video/mp2t", "image/jpeg"])
def test_text_without_end_is_down(kind: str) -> None:
    """Whatever it claims to be. The connection is closed, and no memory is kept."""
    before = psutil.Process().memory_info().rss
    with served(forever(b"All work and no play makes Jack a dull boy.\n" * 400), kind) as server:
        assert reason_for(server.url())
    assert psutil.Process().memory_info().rss - before < 150 << 20


@pytest.mark.parametrize("kind", ["multipart/x-mixed-replace; boundary=x", "video/mp2t"])
def test_garbage_is_down(kind: str) -> None:
    """Random bytes; as parts of a Motion JPEG stream, too."""
    noise = os.urandom(50_000)
    part = (
        b"--x\r\nContent-Type: image/jpeg\r\nContent-Length: 50000\r\n\r\n" + noise + b"\r\n" if "x-" in kind else noise
    )
    tick = threading.Event()

    def parts() -> Iterator[bytes]:
        while not tick.wait(0.04):
            yield part

    with served(parts, kind) as server:
        assert reason_for(server.url(), 40.0)


def test_a_picture_without_end_is_down() -> None:
    """A part that announces two gigabytes: given up within the limit, with what it took given back."""
    head = b"--x\r\nContent-Type: image/jpeg\r\nContent-Length: 2000000000\r\n\r\n"

    def parts() -> Iterator[bytes]:
        yield head
        yield from forever(bytes(100_000))()

    before = psutil.Process().memory_info().rss
    with served(parts, "multipart/x-mixed-replace; boundary=x") as server:
        assert reason_for(server.url())
    assert psutil.Process().memory_info().rss - before < 300 << 20


def test_a_picture_of_no_size_is_no_picture(tmp_path: Path) -> None:
    """A JPEG whose header says 0 × 0: down after a while, and seen again with a real one."""
    file = io.BytesIO()
    Pictures.new("RGB", (64, 64)).save(file, "JPEG")
    data = bytearray(file.getvalue())
    place = data.index(b"\xff\xc0") + 5
    data[place : place + 4] = bytes(4)
    with StrictCamera(tmp_path, "http", picture=lambda _: bytes(data)) as server:
        capture = Capture(source(server.url()), waits=_SHORT)
        capture.start()
        try:
            wait_until(lambda: capture.status().state is CaptureState.DOWN, "loss", 30.0)
            assert capture.status().reason
            server.picture = picture
            wait_until(lambda: capture.next_frame(0.2) is not None, "picture", 30.0)
        finally:
            capture.stop(5.0)


def test_a_stream_without_a_keyframe_is_down(tmp_path: Path) -> None:
    """It is up as long as there is hope, and then down with the reason."""
    ffmpeg(
        "-f",
        "lavfi",
        "-i",
        f"{_PICTURES}:d=20",
        "-c:v",
        "libx264",
        "-g",
        "1000",
        "-bf",
        "0",
        str(tmp_path / "whole.ts"),
    )
    with av.open(str(tmp_path / "whole.ts")) as whole, av.open(str(tmp_path / "rest.ts"), "w") as rest:
        out = rest.add_stream_from_template(whole.streams.video[0])
        for packet in whole.demux(whole.streams.video[0]):
            if packet.size and not packet.is_keyframe:
                packet.stream = out
                rest.mux(packet)
    data = (tmp_path / "rest.ts").read_bytes()
    tick = threading.Event()

    def parts() -> Iterator[bytes]:
        step = len(data) // 400 // 188 * 188
        for at in range(0, len(data), step):
            tick.wait(0.05)
            yield data[at : at + step]

    with served(parts, "video/mp2t") as server:
        capture = Capture(source(server.url()))
        capture.start()
        try:
            wait_until(lambda: capture.status().reason, "reason", 40.0)
            assert capture.next_frame(0.0) is None
            assert capture.status().decoded == 0
        finally:
            capture.stop(5.0)


# -- where else it leads ----------------------------------------------------------------------------------------------


def test_no_redirect_to_another_host_is_followed(tmp_path: Path) -> None:
    """Said with its remedy; the other host hears nothing. One to another path of the same camera is followed."""
    with HttpPages({}) as other, StrictCamera(tmp_path, "http") as camera:
        pages = {
            "/away": Page("text/plain", list, 302, {"Location": other.url("/secret")}),
            "/moved": Page("text/plain", list, 302, {"Location": "/live"}),
            "/live": Page("multipart/x-mixed-replace; boundary=frame", lambda: mjpeg(camera)),
        }
        with HttpPages(pages) as server:
            assert "another address (302)" in reason_for(server.url("/away"))
            capture = Capture(source(server.url("/moved")))
            capture.start()
            try:
                assert capture.next_frame(20.0)
            finally:
                capture.stop(5.0)
        assert other.asked == []


def mjpeg(camera: StrictCamera) -> Iterator[bytes]:
    tick = threading.Event()
    for number in count():
        file = io.BytesIO()
        Pictures.fromarray(picture(number % 1000)).save(file, "JPEG")
        data = file.getvalue()
        yield b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data) + data + b"\r\n"
        if tick.wait(0.04) or camera.stopping.is_set():
            return


@pytest.fixture(scope="module")
def segment(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Four seconds of a transport stream."""
    path = tmp_path_factory.mktemp("hls") / "segment.ts"
    ffmpeg("-f", "lavfi", "-i", f"{_PICTURES}:d=4", "-c:v", "libx264", "-g", "25", "-pix_fmt", "yuv420p", str(path))
    return path.read_bytes()


def playlist(*lines: str) -> Page:
    entries = "".join(f"#EXTINF:4.0,\n{line}\n" for line in lines)
    text = f"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:4\n{entries}#EXT-X-ENDLIST\n"
    return Page("application/vnd.apple.mpegurl", lambda: [text.encode()])


def test_a_playlist_of_the_cameras_own_is_read(segment: bytes) -> None:
    """HLS with its segments on the same host."""
    pages = {"/live": playlist("one.ts", "/two.ts"), "/one.ts": Page("video/mp2t", lambda: [segment])}
    pages["/two.ts"] = pages["/one.ts"]
    with HttpPages(pages) as server:
        capture = Capture(source(server.url()))
        capture.start()
        try:
            assert capture.next_frame(20.0)
            wait_until(lambda: "/two.ts" in server.asked, "second segment", 20.0)
        finally:
            capture.stop(5.0)


@pytest.mark.parametrize("kind", ["another host", "file", "concat", "subfile", "key"])
def test_a_playlist_that_names_anything_else_is_down(tmp_path: Path, segment: bytes, kind: str) -> None:
    """No other host is asked and no file is opened, whatever the playlist says."""
    secret = tmp_path / "secret.ts"
    secret.write_bytes(segment)
    with HttpPages({"/secret.ts": Page("video/mp2t", lambda: [segment])}) as other:
        named = {
            "another host": other.url("/secret.ts"),
            "file": f"file://{secret}",
            "concat": f"concat:{secret}|{secret}",
            "subfile": f"subfile,,start,0,end,0,,:{secret}",
            "key": "one.ts",
        }[kind]
        page = playlist(named)
        if kind == "key":
            key = f'#EXT-X-KEY:METHOD=AES-128,URI="{other.url("/secret.ts")}"\n'
            text = b"".join(page.body()).replace(b"#EXTINF", key.encode() + b"#EXTINF")
            page = Page(page.content_type, lambda: [text])
        with HttpPages({"/live": page, "/one.ts": Page("video/mp2t", lambda: [segment])}) as server:
            capture = Capture(source(server.url()), waits=_SHORT)
            capture.start()
            try:
                wait_until(lambda: capture.status().state is CaptureState.DOWN, "loss", 40.0)
                assert capture.status().decoded == 0
            finally:
                capture.stop(5.0)
            assert set(server.asked) <= {"/live", "/one.ts"}, "what is another's is not asked of the camera either"
        assert other.asked == []


def test_a_file_that_names_others_is_no_video(tmp_path: Path) -> None:
    """A playlist, a list for concat or an SDP in the place of a video."""
    write_clip(tmp_path / "clip.avi")
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4.0,\nclip.avi\n#EXT-X-ENDLIST\n")
    (tmp_path / "list.ffconcat").write_text("ffconcat version 1.0\nfile clip.avi\n")
    (tmp_path / "list.sdp").write_text("v=0\nc=IN IP4 127.0.0.1\nm=video 5000 RTP/AVP 96\na=rtpmap:96 H264/90000\n")
    for name in ("list.m3u8", "list.ffconcat", "list.sdp"):
        assert reason_for(tmp_path / name).endswith("is not a video that FFmpeg can read")


@pytest.mark.parametrize("scheme", ["rtmp", "udp", "gopher"])
def test_other_schemes_are_not_read(scheme: str) -> None:
    """FFmpeg knows fifty protocols; a camera needs four."""
    assert f"{scheme} is not read" in reason_for(f"{scheme}://127.0.0.1:9/live")


# -- pictures of all kinds --------------------------------------------------------------------------------------------


def test_interlaced_video_is_seen(tmp_path: Path) -> None:
    """Pictures with content, as many as there are."""
    path = tmp_path / "fields.mp4"
    flags = ["-flags", "+ilme+ildct", "-x264opts", "tff=1", "-pix_fmt", "yuv420p"]
    ffmpeg(
        "-f",
        "lavfi",
        "-i",
        "testsrc2=s=352x288:r=50:d=2",
        "-vf",
        "interlace=scan=tff",
        "-c:v",
        "libx264",
        *flags,
        str(path),
    )
    frames = frames_of(path)
    assert len(frames) == 50
    assert all(frame.image.std() > 30 for frame in frames)


@pytest.mark.parametrize(("aspect", "shape"), [("2", (240, 640, 3)), ("1/2", (480, 320, 3)), ("100", (240, 320, 3))])
def test_pixels_that_are_not_square_are_spread_out(tmp_path: Path, aspect: str, shape: tuple[int, ...]) -> None:
    """Faces keep their shape and no pixel is lost; an aspect that can't be is left out."""
    path = tmp_path / "wide.mp4"
    ffmpeg("-f", "lavfi", "-i", f"{_PICTURES}:d=0.4", "-vf", f"setsar={aspect}", "-pix_fmt", "yuv420p", str(path))
    assert frames_of(path)[0].image.shape == shape


def test_a_stream_may_change_its_size(tmp_path: Path) -> None:
    """Two recordings of two sizes in one: each picture as large as it is."""
    joined = b""
    for size in ("320x240", "640x360"):
        path = tmp_path / f"{size}.ts"
        ffmpeg("-f", "lavfi", "-i", f"testsrc2=s={size}:r=25:d=2", "-c:v", "libx264", "-pix_fmt", "yuv420p", str(path))
        joined += path.read_bytes()
    (tmp_path / "joined.ts").write_bytes(joined)
    shapes = [frame.image.shape for frame in frames_of(tmp_path / "joined.ts")]
    assert set(shapes) == {(240, 320, 3), (360, 640, 3)}
    assert len(shapes) >= 95


def test_8k_is_seen_and_more_is_not(tmp_path: Path) -> None:
    """The picture's size is known before it is decoded."""
    for name, size in (("8k", "7680x4320"), ("16k", "15360x8640")):
        path = tmp_path / f"{name}.avi"
        ffmpeg("-f", "lavfi", "-i", f"color=red:s={size}:r=1:d=1", "-c:v", "mjpeg", "-pix_fmt", "yuvj420p", str(path))
    assert frames_of(tmp_path / "8k.avi")[0].image.shape == (4320, 7680, 3)
    assert "15360 × 8640 is too large" in reason_for(tmp_path / "16k.avi")


def test_grey_and_deep_pictures_are_seen(tmp_path: Path) -> None:
    """One channel, ten bits: BGR of eight bits comes out."""
    for name, kind in (("grey.mkv", "gray"), ("deep.mkv", "yuv420p10le")):
        ffmpeg("-f", "lavfi", "-i", f"{_PICTURES}:d=0.4", "-c:v", "ffv1", "-pix_fmt", kind, str(tmp_path / name))
        image = frames_of(tmp_path / name)[0].image
        assert image.shape == (240, 320, 3)
        assert image.dtype == np.uint8
        assert image.std() > 30


# -- times ------------------------------------------------------------------------------------------------------------


def test_joined_recordings_are_looked_at_whole(tmp_path: Path) -> None:
    """The second begins at its own zero; and in real time nobody waits for it."""
    one = write_clip(tmp_path / "one.ts", 25).read_bytes()
    (tmp_path / "joined.ts").write_bytes(one + one)
    frames = frames_of(tmp_path / "joined.ts")
    assert [number_of(frame.image) for frame in frames] == list(range(25)) * 2
    times = [frame.media_time_s for frame in frames if frame.media_time_s is not None]
    assert all(0 < later - earlier < 0.1 for earlier, later in pairwise(times))
    began = time.monotonic()
    assert frames_of(tmp_path / "joined.ts", realtime=True)
    assert time.monotonic() - began < 10.0


def test_a_stray_stamp_hides_nothing(tmp_path: Path) -> None:
    """One picture claims to be ten hours ahead."""
    clip = write_clip(tmp_path / "clip.ts", 30).read_bytes()
    single = ["-f", "lavfi", "-i", "testsrc2=s=160x120:r=25:d=0.04", "-c:v", "mpeg2video", "-output_ts_offset", "36000"]
    ffmpeg(*single, str(tmp_path / "late.ts"))
    path = tmp_path / "stray.ts"
    path.write_bytes(clip + (tmp_path / "late.ts").read_bytes() + clip)
    frames = frames_of(path)
    assert len(frames) == 61
    assert (frames[-1].media_time_s or 99.0) < 3.0
    began = time.monotonic()
    frames_of(path, realtime=True)
    assert time.monotonic() - began < 10.0
