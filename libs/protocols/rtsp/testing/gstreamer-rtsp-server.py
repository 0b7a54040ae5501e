"""A camera made of GStreamer's RTSP server: H.264 and PCMU at /cam. Prints its port, then serves until it is killed.

usage: gstreamer-rtsp-server.py [--auth basic|digest] [--lower tcp|udp|both] [--timeout seconds]
"""

import argparse

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

arguments = argparse.ArgumentParser()
arguments.add_argument("--auth", choices=["basic", "digest"])
arguments.add_argument("--lower", choices=["tcp", "udp", "both"], default="both")
arguments.add_argument("--timeout", type=int, default=60)
chosen = arguments.parse_args()

Gst.init(None)
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service("0")

factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(
    "( videotestsrc is-live=true ! video/x-raw,width=320,height=240,framerate=25/1 ! videoconvert"
    " ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=12 ! video/x-h264,profile=baseline"
    " ! rtph264pay name=pay0 pt=96"
    " audiotestsrc is-live=true ! audio/x-raw,rate=8000,channels=1 ! mulawenc ! rtppcmupay name=pay1 pt=0 )"
)
factory.set_shared(True)
lower = {
    "tcp": GstRtsp.RTSPLowerTrans.TCP,
    "udp": GstRtsp.RTSPLowerTrans.UDP,
    "both": GstRtsp.RTSPLowerTrans.TCP | GstRtsp.RTSPLowerTrans.UDP,
}
factory.set_protocols(lower[chosen.lower])


if chosen.auth:
    auth = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    if chosen.auth == "basic":
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic("camera", "p@ss word"), token)
    else:
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
        auth.add_digest("camera", "p@ss word", token)
    server.set_auth(auth)
    permissions = GstRtspServer.RTSPPermissions()
    permissions.add_permission_for_role("viewer", "media.factory.access", True)
    permissions.add_permission_for_role("viewer", "media.factory.construct", True)
    factory.set_permissions(permissions)


def on_session(_client, session):
    session.set_timeout(chosen.timeout)


server.connect("client-connected", lambda _server, client: client.connect("new-session", on_session))
server.get_mount_points().add_factory("/cam", factory)
server.attach(None)
print(server.get_bound_port(), flush=True)
loop = GLib.MainLoop()


def clean():
    server.get_session_pool().cleanup()
    return True


GLib.timeout_add_seconds(1, clean)
loop.run()
