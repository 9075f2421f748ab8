"""A camera's stream, decoded and watched as if it came live, in no time: the same answer every time, on any machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.clips import source
from tests.support.events import told
from tests.support.scenes import BEGAN_AT
from workers.capture.cadence import Cadence
from workers.capture.capture import Frame
from workers.capture.decode_policy import DecodePolicy
from workers.capture.decoding import Decoding, Picture, Stamp
from workers.capture.video import Video
from workers.pipeline.pipeline import CameraPipeline

_FPS = 5.0
_CAPTURED_AT = 1000.0


@dataclass
class Watched:
    """What came of a stream. `asleep_s`: for so long only keyframes were decoded."""

    events: list[dict[str, Any]] = field(default_factory=list)
    packets: int = 0
    decoded: int = 0
    asleep_s: float = 0.0


def watch_stream(path: Path, pipeline: CameraPipeline, policy: DecodePolicy | None, frames_per_s: int) -> Watched:
    """Decode the stream on demand, or whole (None), and give the pipeline what is due."""
    done, cadence = Watched(), Cadence(_FPS)
    video = Video(source(path), open_timeout_s=5.0, read_timeout_s=5.0)
    decoding = Decoding(video, policy)

    def show(pictures: Iterator[Picture]) -> None:
        for frame, stamp, _ in pictures:
            if stamp.media_s is not None and cadence.due(stamp.media_s):
                times = stamp.came_at, BEGAN_AT + stamp.media_s, stamp.media_s
                done.events.extend(told(pipeline.process(Frame(video.image(frame), *times))))
                if policy is not None:
                    policy.people = pipeline.in_view

    for packet in video.packets():
        media_s = done.packets / frames_per_s
        stamp = Stamp(_CAPTURED_AT + media_s, _CAPTURED_AT + media_s, media_s)
        done.packets += 1
        if not decoding.keeps(packet, stamp):
            show(decoding.feed(packet, stamp))
        done.asleep_s += (policy is not None and policy.asleep) / frames_per_s
    show(decoding.finish())
    video.close()
    done.events.extend(told(pipeline.finish()))
    done.decoded = decoding.decoded
    return done
