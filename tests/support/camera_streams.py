"""Video as cameras send it, made with ffmpeg: of a size, with people or without, with keyframes so far apart."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from itertools import chain
from math import ceil
from pathlib import Path

import cv2
import numpy as np
import skimage

from tests.support.paths import VIDEOS, astronaut
from workers.recognition.engine import Image

FRAMES_PER_S = 25
SIZES = {"720p": (1280, 720), "1080p": (1920, 1080), "4k": (3840, 2160)}
_MADE_S = 8  # what is encoded; a longer stream repeats it
_CAMERA = ("-preset", "veryfast", "-tune", "zerolatency", "-crf", "24")
_CAMERA_HEVC = ("-preset", "ultrafast", "-crf", "26")


def still_room(width: int, height: int) -> Image:
    """A picture full of detail that shows nobody, BGR."""
    tiles = [_tile(name) for name in ("coffee.png", "chelsea.png", "rocket.jpg")]
    across, along = -(-width // 400), -(-height // 300)
    rows = [np.hstack([tiles[(x + y) % 3] for x in range(across)]) for y in range(along)]
    return np.ascontiguousarray(np.vstack(rows)[:height, :width])


def _tile(name: str) -> Image:
    picture = cv2.imread(str(Path(skimage.__file__).with_name("data") / name))
    assert picture is not None, name
    return np.asarray(picture[:300, :400], np.uint8)


def empty_stream(path: Path, width: int, height: int, *, seconds: int, keyframe_s: float = 4.0, noise: int = 3) -> Path:
    """A still room with a sensor's noise (`noise` grey levels); HEVC if the file's name says so. Returns `path`."""
    picture = path.with_suffix(".png")
    cv2.imwrite(str(picture), still_room(width, height))
    source = ["-loop", "1", "-framerate", str(FRAMES_PER_S), "-i", str(picture)]
    made_s = (
        max(2 * keyframe_s, _MADE_S) + keyframe_s
    )  # the first group, in which the encoder has to find its way, is left out
    repeat = ceil(seconds / (made_s - keyframe_s))
    _encode(path, source, ["-vf", f"noise=c0s={noise}:c0f=t", "-t", str(made_s)], keyframe_s, repeat)
    return path


def busy_stream(path: Path, width: int, height: int, *, keyframe_s: float = 2.0, repeat: int = 1) -> Path:
    """The film of the test data, 26 s with up to seven people in view, so many times. Returns `path`."""
    film = VIDEOS / "friends_in_video.mp4"
    _encode(
        path, ["-i", str(film)], ["-vf", f"scale={width}:{height}", "-r", str(FRAMES_PER_S), "-an"], keyframe_s, repeat
    )
    return path


def walk_stream(
    path: Path,
    *,
    codec: tuple[str, ...] = ("libx264", *_CAMERA, "-bf", "0"),
    keyframe_s: float = 2.0,
    noise: int = 2,
    change: str = "null",
    size: tuple[int, int] = (640, 360),
    walks: tuple[float, ...] = (14.0,),
    seconds: float = 22.0,
    scale: float = 1.0,
) -> Path:
    """A still room through which a face of `scale` times some 60 pixels goes in 4 s, beginning at each second of `walks`. Returns `path`.

    `codec`: encoder and its options. `change`: a filter of ffmpeg for the whole picture.
    """
    picture, face = path.with_suffix(".png"), path.with_suffix(".face.png")
    cv2.imwrite(str(picture), still_room(*size))
    photo = cv2.imread(str(astronaut()))
    assert photo is not None
    cv2.imwrite(str(face), cv2.resize(photo[20:240, 130:320], (round(110 * scale), round(128 * scale))))
    here = "+".join(f"between(t,{at},{at + 4})" for at in walks)
    since = "+".join(f"(t-{at})*between(t,{at},{at + 4})" for at in walks)
    steps = [
        f"[0][1]overlay=x='-w+({since})/4*(W+w)':y=100:enable='{here}':eval=frame[walk]",
        f"[walk]noise=c0s={noise}:c0f=t,{change},format=yuv420p",
    ]
    every = str(round(keyframe_s * FRAMES_PER_S))
    loop = ["-loop", "1", "-framerate", str(FRAMES_PER_S)]
    source = [*loop, "-i", str(picture), *loop, "-i", str(face), "-filter_complex", ";".join(steps), "-t", str(seconds)]
    groups = ["-g", every, "-keyint_min", every, "-sc_threshold", "0"]
    ffmpeg(*source, "-c:v", *codec, *groups, "-threads", "1", str(path))
    return path


def scene_stream(path: Path, pictures: Iterable[Image], frames_per_s: int, keyframe_s: float = 2.0) -> Path:
    """BGR pictures of one size, as an H.264 camera sends them. Returns `path`."""
    groups = str(round(keyframe_s * frames_per_s))
    left = iter(pictures)
    first = next(left)
    raw = ["-f", "rawvideo", "-pix_fmt", "bgr24", "-s", f"{first.shape[1]}x{first.shape[0]}", "-r", str(frames_per_s)]
    codec = ["-c:v", "libx264", *_CAMERA, "-bf", "0", "-g", groups, "-keyint_min", groups, "-sc_threshold", "0"]
    words = ["ffmpeg", "-v", "error", "-y", *raw, "-i", "-", *codec, "-pix_fmt", "yuv420p", "-threads", "1", str(path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        for picture in chain([first], left):
            process.stdin.write(picture.tobytes())
        process.stdin.close()
        assert process.wait(60) == 0
    return path


def _encode(path: Path, source: list[str], changes: list[str], keyframe_s: float, repeat: int = 1) -> None:
    hevc = "hevc" in path.name
    every = str(round(keyframe_s * FRAMES_PER_S))
    codec = ["libx265", *_CAMERA_HEVC] if hevc else ["libx264", *_CAMERA]
    more = ["-x265-params", f"log-level=none:bframes=0:scenecut=0:keyint={every}:min-keyint={every}"] if hevc else []
    once = path.with_name(f"once-{path.name}") if repeat > 1 else path
    groups = ["-g", every, "-keyint_min", every, "-sc_threshold", "0", "-bf", "0"]
    ffmpeg(*source, *changes, "-pix_fmt", "yuv420p", "-c:v", *codec, *more, *groups, str(once))
    if repeat > 1:
        cut = path.with_name(f"cut-{path.name}")
        ffmpeg("-ss", str(keyframe_s), "-i", str(once), "-c", "copy", str(cut))
        ffmpeg("-stream_loop", str(repeat - 1), "-i", str(cut), "-c", "copy", str(path))
        once.unlink()
        cut.unlink()


def ffmpeg(*words: str) -> None:
    """Run ffmpeg; its output is in the error if it fails."""
    done = subprocess.run(["ffmpeg", "-v", "error", "-y", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
