"""An RTSP server for tests. It serves a folder of JPEGs as an endless stream. It runs under the system's Python, which has `gi`.

usage: rtsp_server.py FOLDER FPS PORT [USER PASSWORD]

The folder holds 00000.jpg, 00001.jpg, …; the stream is H.264 at rtsp://127.0.0.1:PORT/live, with basic authentication if
a user is given. PORT 0 takes a free port. The port is printed on a line of its own once clients can connect. SIGTERM ends it.
"""

from __future__ import annotations

import sys
from typing import Any

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402  # versions are chosen before the import

PIPELINE = (
    '( multifilesrc location="{folder}/%05d.jpg" index=0 loop=true caps="image/jpeg,framerate={fps}/1" ! jpegdec '
    "! videoconvert ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max={fps} bitrate=4000 threads=1 "
    "! rtph264pay name=pay0 pt=96 )"
)


def main(folder: str, fps: str, port: str, user: str | None = None, password: str | None = None) -> None:
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(PIPELINE.format(folder=folder, fps=fps))
    factory.set_shared(True)
    if user and password:
        require_login(server, factory, user, password)
    server.get_mount_points().add_factory("/live", factory)
    if not server.attach(None):
        sys.exit(f"port {port} can't be listened on")
    sys.stdout.write(f"{server.get_bound_port()}\n")
    sys.stdout.flush()
    GLib.MainLoop().run()


def require_login(server: Any, factory: Any, user: str, password: str) -> None:
    auth = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    server.set_auth(auth)
    permissions = GstRtspServer.RTSPPermissions()
    permissions.add_permission_for_role("viewer", "media.factory.access", True)
    permissions.add_permission_for_role("viewer", "media.factory.construct", True)
    factory.set_permissions(permissions)


if __name__ == "__main__":
    main(*sys.argv[1:])
