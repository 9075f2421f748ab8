"""An HTTP server of Motion JPEG, like that of cheap network cameras: multipart/x-mixed-replace, one JPEG in each part."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2

from tests.support.clips import picture
from tests.support.serving import Serving


class MjpegServer(Serving):
    """Serves numbered pictures at `url`, 25 a second. `port` 0: a free one. `most`: pictures before the stream goes silent
    without being closed, as a camera that hangs does."""

    def __init__(self, port: int = 0, most: int | None = None) -> None:
        server = _Server(("127.0.0.1", port), _Handler)
        super().__init__(server)
        server.owner = self
        self.most = most
        self.url = f"http://127.0.0.1:{self.port}/video.mjpg"


class _Server(ThreadingHTTPServer):
    owner: MjpegServer


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        owner = self.server.owner
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        number = 0
        try:
            while not owner.stopping.wait(1 / 25):
                if owner.most is not None and number >= owner.most:
                    owner.stopping.wait()
                    return
                jpeg = cv2.imencode(".jpg", picture(number))[1].tobytes()
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                self.wfile.write(head.encode() + jpeg + b"\r\n")
                number += 1
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client has gone

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
