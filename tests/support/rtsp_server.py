"""An RTSP server for tests. It serves a folder of JPEGs as an endless stream. It runs under the system's Python, which has `gi`.

usage: rtsp_server.py FOLDER|FILE FPS PORT [USER PASSWORD]

The folder holds 00000.jpg, 00001.jpg, …; the stream is H.264 at rtsp://127.0.0.1:PORT/live, with basic authentication if
a user is given. A file (.ts, or .mp4) is sent as it is, once from its beginning for whoever comes first: H.264, or what its name says,
such as room-hevc.mp4. PORT 0 takes a free port. The port is printed on a line of its own once clients can connect. SIGTERM ends it.
"""

from __future__ import annotations

import sys
from pathlib import Path
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
FILE = '( filesrc location="{file}" ! {demux} ! {codec}parse config-interval=-1 ! rtp{codec}pay name=pay0 pt=96 )'
SOUND = "( audiotestsrc is-live=true ! mulawenc ! rtppcmupay name=pay0 pt=0 )"


def launch_of(source: str, fps: str) -> str:
    """What GStreamer is to serve. "sound": a stream with nothing but a tone."""
    if source == "sound":
        return SOUND
    path = Path(source)
    if path.is_dir():
        return PIPELINE.format(folder=source, fps=fps)
    demux = "tsdemux" if path.suffix == ".ts" else "qtdemux"
    return FILE.format(file=source, demux=demux, codec="h265" if "hevc" in path.name else "h264")


def main(source: str, fps: str, port: str, user: str | None = None, password: str | None = None) -> None:
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(launch_of(source, fps))
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
