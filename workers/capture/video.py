"""A camera's or a file's video, opened, read and decoded with FFmpeg, through PyAV.

FFmpeg may open only what a camera needs: an RTSP connection, a file, a device. HTTP goes through `HttpStream`. Whatever a
source sends, a picture has at most `MAX_PIXELS`, and each read has a time limit. PyAV raises one error a read, and its text
may hold the address: so nothing of it is shown.
"""

from __future__ import annotations

import io
import os
import select
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import av
import cv2
import numpy as np
from av.codec.codec import Properties
from av.codec.hwaccel import HWAccel
from av.error import ExitError, FFmpegError
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from shared.settings.sources import Source, SourceKind, parse_address
from workers.capture.decode_device import CPU

if TYPE_CHECKING:
    from av.container import InputContainer

    from workers.capture.http_stream import HttpStream
    from workers.recognition.engine import Image

MAX_PIXELS = 7680 * 4320 + 1_000_000  # a little more than 8K; such a picture takes 100 MB
# Formats with one file each. Those that name further files (concat, sdp, playlists) would let a file open any other file.
_FILE_FORMATS = "mov,mp4,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,obu,ivf,mjpeg,mpjpeg,flv,asf,ogg,mxf,nut,gif,rawvideo"
_HTTP_FORMATS = _FILE_FORMATS + ",hls"
_PROBE_BYTES = 2 << 20  # a camera's keyframe fits into it; text without end is recognised as such
_LONGEST_SEGMENT_S = 20.0  # a playlist is renewed once a segment, which takes up to 10 s
# Pixels that are not square: the picture is spread out. Beyond this the aspect that a stream tells is taken for a mistake.
_MOST_ASPECT = 4.0
_FULL_RANGE = ColorRange.JPEG  # black is 0 and white 255; OpenCV takes black for 16


def _one_thread() -> dict[str, int]:
    """The argument with which a picture is converted by one thread. PyAV 16 takes none, and has one."""
    try:
        VideoReformatter().reformat(VideoFrame(16, 16, "yuv420p"), format="gray", threads=1)
    except TypeError:
        return {}
    return {"threads": 1}


_ONE_THREAD = _one_thread()


class VideoFault(Exception):
    """The source gives no pictures that can be used. The text says why, without the address; it may be empty."""


class Video:
    """A source that is open. All methods are for one thread."""

    def __init__(
        self,
        source: Source,
        *,
        open_timeout_s: float,
        read_timeout_s: float,
        tls_name: str | None = None,
        device: str = CPU,
    ) -> None:
        """Open `source`. Takes at most `open_timeout_s` for a connection and as long for its first packets.

        `read_timeout_s`: a stream that gives no picture for so long is at its end. `tls_name`: what the probe found. `device`:
        what decodes, see decode_device.py; a codec that it does not know is decoded by the CPU. Raises VideoFault.
        """
        self._source, self._read_timeout_s, self._tls_name = source, read_timeout_s, tls_name
        self._hwaccel = None if device == CPU else HWAccel(device, allow_software_fallback=True)
        self._http: HttpStream | None = None
        self._device: int | None = None
        timeouts = (open_timeout_s, read_timeout_s)
        try:
            self._container = self._open(timeouts)
        except ExitError:
            raise VideoFault(f"no video within {open_timeout_s:.0f} s") from None
        except MemoryError:
            raise VideoFault("no memory for its pictures") from None
        except (FFmpegError, OSError, ValueError):
            raise VideoFault from None
        try:
            self._stream = self._video_of(self._container)
        except VideoFault:
            self._container.close()
            raise
        if source.kind is SourceKind.DEVICE:
            self._device = _descriptor_of(_device_path(source))
        self._decoder = self._stream.codec_context
        self._decoder.thread_count = 1  # threads would hold frames back, and take CPU from other cameras
        self._decoder.options = {"max_pixels": str(MAX_PIXELS)}
        self._decoder.copy_opaque = True
        self.read_at, self.took_s = (
            time.monotonic(),
            0.0,
        )  # of the latest packet: when it was read, and how long the read took
        self.tick_s = float(self._stream.time_base or 0)  # the unit of its packets' stamps
        # What decodes: the device, or "cpu".
        self.device = device if self._decoder.is_hwaccel else CPU
        # Whether each packet is a picture by itself, as with Motion JPEG.
        self.intra_only = bool(self._decoder.codec.properties & cast("int", Properties.INTRA_ONLY.value))
        self._to_bgr, self._to_grey = VideoReformatter(), VideoReformatter()

    # -- opening ------------------------------------------------------------------------------------------------------

    def _open(self, timeouts: tuple[float, float]) -> InputContainer:
        source = self._source
        address = str(source.address)
        # Without `fpsprobesize` FFmpeg counts frames to find the stream's rate, which takes 2.4 s and is not used here.
        options = {"fpsprobesize": "0", "max_pixels": str(MAX_PIXELS)}
        if source.kind is SourceKind.FILE:
            options |= {"protocol_whitelist": "file", "format_whitelist": _FILE_FORMATS}
            return av.open(f"file:{address}", options=options, timeout=timeouts, hwaccel=self._hwaccel)
        if source.kind is SourceKind.DEVICE:
            options |= {"protocol_whitelist": "file"}
            return av.open(
                _device_path(source), format="v4l2", options=options, timeout=timeouts, hwaccel=self._hwaccel
            )
        if address.startswith(("http:", "https:")):
            return self._open_http(options, timeouts)
        # UDP, which FFmpeg prefers, loses packets on every busy network. No sound: it would be read for nothing.
        options |= {"rtsp_transport": source.reached.transport, "allowed_media_types": "video"}
        options["protocol_whitelist"] = "tcp,tls,udp,rtp"
        if address.startswith("rtsps:"):
            from workers.capture.tls import ca_bundle  # the probe has loaded it

            verify = source.reached.tls == "verify"
            options |= {"tls_verify": "1", "ca_file": os.fspath(ca_bundle(source))} if verify else {"tls_verify": "0"}
            options |= {"verifyhost": self._tls_name} if self._tls_name else {}
        return av.open(address, format="rtsp", options=options, timeout=timeouts, hwaccel=self._hwaccel)

    def _open_http(self, options: dict[str, str], timeouts: tuple[float, float]) -> InputContainer:
        from workers.capture.http_stream import HttpStream  # Python's HTTP takes 2 MB, and most cameras speak RTSP

        address = parse_address(str(self._source.address))
        assert address is not None  # the probe has already reached this address
        self._http = HttpStream(self._source, address, max(timeouts))
        body = self._http.open()
        options |= {
            "protocol_whitelist": "http,https",
            "format_whitelist": _HTTP_FORMATS,
            "probesize": str(_PROBE_BYTES),
            # Otherwise the HLS reader would use FFmpeg's own connections, which HttpStream's are not.
            "http_persistent": "0",
            "http_multiple": "0",
        }
        kind = _format_of(self._http.content_type, address.path)
        if kind == "hls":
            self._read_timeout_s = max(self._read_timeout_s, _LONGEST_SEGMENT_S)
            self._http = HttpStream(self._source, address, self._read_timeout_s)
            timeouts = (self._read_timeout_s, self._read_timeout_s)
        named = self._http.open_named
        return av.open(
            body, mode="r", format=kind, options=options, timeout=timeouts, io_open=named, hwaccel=self._hwaccel
        )

    @staticmethod
    def _video_of(container: InputContainer) -> VideoStream:
        streams = container.streams.video
        if not streams:
            raise VideoFault("it has sound or data, but no video" if len(container.streams) else "it has no video")
        stream = next((one for one in streams if not one.disposition & one.disposition.attached_pic), streams[0])
        if stream.codec_context is None:
            raise VideoFault("its video has a codec that can't be decoded")
        require_size(stream.codec_context.width, stream.codec_context.height)
        return stream

    # -- what it is ---------------------------------------------------------------------------------------------------

    @property
    def length_s(self) -> float:
        """What a file announces; 0.0: nothing."""
        return max(0.0, (self._container.duration or 0) / av.time_base)

    @property
    def codec(self) -> str:
        """The codec's name, as FFmpeg has it."""
        return self._decoder.name

    # -- reading ------------------------------------------------------------------------------------------------------

    def packets(self) -> Iterator[av.Packet[VideoStream]]:
        """The video's packets, in the order in which they are decoded. Ends where the source ends.

        Raises VideoFault when nothing, or only sound, comes for the time limit, or when what comes can't be read.
        """
        video_at = time.monotonic()
        packets, own = self._container.demux(), self._stream.index
        while True:
            if self._http is not None:
                self._http.extend()
            if self._device is not None and not select.select([self._device], [], [], self._read_timeout_s)[0]:
                raise VideoFault(f"no picture for {self._read_timeout_s:.0f} s")
            asked_at = time.monotonic()
            try:
                packet = next(packets, None)
            except (ExitError, TimeoutError):
                raise VideoFault(f"nothing came for {self._read_timeout_s:.0f} s") from None
            except MemoryError:
                raise VideoFault("no memory for what it sends") from None
            except (FFmpegError, OSError, ValueError):
                raise VideoFault from None
            if packet is None:
                return
            self.read_at = time.monotonic()
            self.took_s = self.read_at - asked_at
            if packet.stream_index != own:
                if self.read_at - video_at > self._read_timeout_s:
                    raise VideoFault(f"no picture for {self._read_timeout_s:.0f} s, only sound or data")
                continue
            if packet.size:  # PyAV's last packet is empty
                yield cast("av.Packet[VideoStream]", packet)
                video_at = time.monotonic()  # what the caller did meanwhile is not the source's silence

    # -- decoding -----------------------------------------------------------------------------------------------------

    def decode(self, packet: av.Packet[VideoStream] | None) -> list[VideoFrame]:
        """The pictures that are whole with this packet. None: those that are still in the decoder; it then starts anew.

        A packet that can't be decoded gives none. Raises VideoFault for a picture that is too large.
        """
        try:
            frames = self._decoder.decode(packet)
        except MemoryError:
            raise VideoFault("no memory for its pictures") from None
        except (FFmpegError, ValueError):
            if packet is not None and self.codec == "mjpeg":
                _require_jpeg_size(packet)
            frames = []
        if packet is None:
            self._decoder.flush_buffers()
        return frames

    def image(self, frame: VideoFrame) -> Image:
        """A picture as BGR (height, width, 3) uint8, its pixels square. Raises VideoFault for one that is too large."""
        require_size(frame.width, frame.height)
        width, height = _square(frame.width, frame.height, self._decoder.sample_aspect_ratio)
        if _is_plain_nv12(frame):
            plain = _bgr_of_nv12(frame)
            square = plain if (width, height) == (frame.width, frame.height) else cv2.resize(plain, (width, height))
            return np.asarray(square, np.uint8)
        bgr = self._to_bgr.reformat(
            frame, width=width, height=height, format="bgr24", interpolation=Interpolation.BILINEAR, **_ONE_THREAD
        )
        plane = bgr.planes[0]
        image: Image = np.ndarray((height, width, 3), np.uint8, memoryview(plane), strides=(plane.line_size, 3, 1))
        return np.ascontiguousarray(image)

    def grey(self, frame: VideoFrame, size: tuple[int, int]) -> NDArray[np.uint8]:
        """A small grey copy (height, width) uint8 of a picture, for comparisons. `size`: width and height."""
        width, height = size
        small = self._to_grey.reformat(
            frame, width=width, height=height, format="gray", interpolation=Interpolation.FAST_BILINEAR, **_ONE_THREAD
        )
        plane = small.planes[0]
        return np.ndarray((height, width), np.uint8, memoryview(plane), strides=(plane.line_size, 1)).copy()

    def close(self) -> None:
        self._container.close()


def require_size(width: int, height: int) -> None:
    """Raise VideoFault for a picture that would take more memory than a camera's process may have."""
    if width * height > MAX_PIXELS:
        raise VideoFault(f"a picture of {width} × {height} is too large; {MAX_PIXELS // 10**6} megapixels at most")


def _is_plain_nv12(frame: VideoFrame) -> bool:
    """Whether this is what devices give, which OpenCV converts in a quarter of swscale's time."""
    even = frame.width % 2 == 0 and frame.height % 2 == 0
    return frame.format.name == "nv12" and even and frame.color_range != _FULL_RANGE


def _bgr_of_nv12(frame: VideoFrame) -> NDArray[np.uint8]:
    width, height = frame.width, frame.height
    light, colour = frame.planes[0], frame.planes[1]
    y = np.ndarray((height, width), np.uint8, memoryview(light), strides=(light.line_size, 1))
    shape, strides = (height // 2, width // 2, 2), (colour.line_size, 2, 1)
    uv = np.ndarray(shape, np.uint8, memoryview(colour), strides=strides)
    return np.asarray(cv2.cvtColorTwoPlane(y, uv, cv2.COLOR_YUV2BGR_NV12), np.uint8)


def _require_jpeg_size(packet: av.Packet[VideoStream]) -> None:
    """Raise VideoFault if that is why this JPEG was not decoded: its picture is too large."""
    from PIL import Image as Pictures  # only where something is wrong

    try:
        with Pictures.open(io.BytesIO(bytes(packet)), formats=("JPEG",)) as picture:
            size = picture.size
    except Pictures.DecompressionBombError:
        raise VideoFault("a picture of many more than 8K's megapixels is too large") from None
    except (OSError, ValueError, SyntaxError):
        return
    require_size(*size)


def _square(width: int, height: int, aspect: Any) -> tuple[int, int]:
    """The size at which pixels of this aspect (width to height, a fraction; None or 0: unknown) are square. Never smaller."""
    ratio = float(aspect) if aspect else 1.0
    if not 1 / _MOST_ASPECT <= ratio <= _MOST_ASPECT:
        return width, height
    wide, high = (round(width * ratio), height) if ratio > 1 else (width, round(height / ratio))
    return (wide, high) if wide * high <= MAX_PIXELS else (width, height)


def _format_of(content_type: str, path: str) -> str | None:
    """FFmpeg's name of the format that an HTTP answer announces; None: FFmpeg finds out."""
    if content_type.startswith("multipart/"):
        return "mpjpeg"
    if "mpegurl" in content_type or path.partition("?")[0].endswith(".m3u8"):
        return "hls"
    return None


def _device_path(source: Source) -> str:
    # A name under /dev/v4l/by-id is a link that follows the camera from port to port.
    address = source.address
    return f"/dev/video{address}" if isinstance(address, int) else os.path.realpath(address)


def _descriptor_of(path: str) -> int | None:
    """The descriptor under which FFmpeg holds the device open. FFmpeg waits for its pictures without a time limit, so the
    wait has to come before. None if the system does not show descriptors."""
    folder = Path("/proc/self/fd")
    try:
        links = {int(one.name): one for one in folder.iterdir()}
        return next(
            (number for number, link in links.items() if link.is_symlink() and link.readlink() == Path(path)), None
        )
    except OSError:
        return None
