"""GStreamer's webrtcbin as a WebRTC client. Speaks JSON, one line each: tells its offer, reads the answer, then tells
what it has decoded and how its ICE stands.

webrtcbin.py publish BUNDLE_POLICY PIPELINE   PIPELINE's branches end in `w.`, the webrtcbin
webrtcbin.py play BUNDLE_POLICY CAPS [CAPS]   a recvonly transceiver for each
"""

import json
import sys
import threading

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

DECODERS = {
    "H264": "rtph264depay ! h264parse ! avdec_h264",
    "VP8": "rtpvp8depay ! vp8dec",
    "OPUS": "rtpopusdepay ! opusdec",
    "PCMU": "rtppcmudepay ! mulawdec",
}
# The loop runs in a thread of its own while promises are waited for; what they hold is freed by that thread.
kept = []


def tell(**words):
    print(json.dumps(words), flush=True)


def ask(element, signal, *arguments):
    promise = Gst.Promise.new()
    element.emit(signal, *arguments, promise)
    promise.wait()
    reply = promise.get_reply()
    kept.extend([promise, reply])
    return reply


Gst.init(None)
kind, bundle_policy, *media = sys.argv[1:]
source = media[0] if kind == "publish" else ""
pipeline = Gst.Pipeline.new()
pipeline.add(Gst.parse_bin_from_description(f"webrtcbin name=w bundle-policy={bundle_policy} {source}", False))
webrtc = pipeline.get_by_name("w")
decoded = {}


def on_pad(_element, pad):
    if pad.direction != Gst.PadDirection.SRC:
        return
    codec = pad.get_current_caps().get_structure(0).get_string("encoding-name")
    sink = "fakesink name=sink sync=false signal-handoffs=true"
    branch = Gst.parse_bin_from_description(f"queue ! {DECODERS[codec]} ! {sink}", True)

    def count(*_):
        decoded[codec] = decoded.get(codec, 0) + 1

    branch.get_by_name("sink").connect("handoff", count)
    webrtc.get_parent().add(branch)
    branch.sync_state_with_parent()
    pad.link(branch.get_static_pad("sink"))


def on_bus(_bus, message):
    if message.type == Gst.MessageType.ERROR:
        tell(error=message.parse_error()[0].message)


webrtc.connect("pad-added", on_pad)
bus = pipeline.get_bus()
bus.add_signal_watch()
bus.connect("message", on_bus)
threading.Thread(target=GLib.MainLoop().run, daemon=True).start()
if kind == "play":
    for caps in media:
        webrtc.emit(
            "add-transceiver", GstWebRTC.WebRTCRTPTransceiverDirection.RECVONLY, Gst.Caps.from_string(caps)
        )

offered = threading.Event()


def on_negotiation_needed(_element):
    offered.set()


webrtc.connect("on-negotiation-needed", on_negotiation_needed)
pipeline.set_state(Gst.State.PLAYING)
offered.wait()
gathered = threading.Event()


def on_gathering(element, _property):
    if element.get_property("ice-gathering-state") == GstWebRTC.WebRTCICEGatheringState.COMPLETE:
        gathered.set()


webrtc.connect("notify::ice-gathering-state", on_gathering)
ask(webrtc, "set-local-description", ask(webrtc, "create-offer", None).get_value("offer"))
gathered.wait()
tell(offer=webrtc.get_property("local-description").sdp.as_text())

for line in sys.stdin:
    _, message = GstSdp.SDPMessage.new_from_text(json.loads(line)["answer"])
    answer = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, message)
    ask(webrtc, "set-remote-description", answer)
    break


def report():
    tell(decoded=decoded, ice=webrtc.get_property("ice-connection-state").value_nick)
    return True


GLib.timeout_add(500, report)
sys.stdin.read()
pipeline.set_state(Gst.State.NULL)
