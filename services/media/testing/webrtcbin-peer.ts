import { spawn, spawnSync, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { create } from '@bufbuild/protobuf';
import { PlayRequestSchema, PublishRequestSchema } from '@weir/contracts';
import { z } from 'zod';
import type { WebRtc } from '../src/webrtc.js';

const program = `${import.meta.dirname}/webrtcbin.py`;

/** Debian's own Python, because PyGObject is installed for that one. */
const PYTHON = '/usr/bin/python3';

const has = (element: string) => spawnSync('gst-inspect-1.0', [element]).status === 0;

export const hasWebRtcBin =
  ['webrtcbin', 'nicesrc', 'x264enc', 'avdec_h264'].every(has) &&
  spawnSync(PYTHON, ['-c', "import gi; gi.require_version('GstWebRTC', '1.0')"]).status === 0;

const spoken = z.object({
  offer: z.string().optional(),
  error: z.string().optional(),
  decoded: z.record(z.string(), z.number()).optional(),
  ice: z.string().optional(),
});

export type BundlePolicy = 'none' | 'balanced' | 'max-compat' | 'max-bundle';

export interface WebRtcBinOptions {
  bundlePolicy?: BundlePolicy;
  /** Changes the offer before it is sent. */
  editOffer?: (sdp: string) => string;
}

const H264_PICTURE =
  'videotestsrc is-live=true ! video/x-raw,width=320,height=240,framerate=30/1 ' +
  '! x264enc tune=zerolatency key-int-max=30 ! rtph264pay config-interval=-1 ' +
  '! application/x-rtp,media=video,encoding-name=H264,payload=102 ! w. ';
const OPUS_TONE =
  'audiotestsrc is-live=true ! opusenc ! rtpopuspay ! application/x-rtp,media=audio,encoding-name=OPUS,payload=111 ! w. ';

export const H264_CAPS = 'application/x-rtp,media=video,encoding-name=H264,payload=102,clock-rate=90000';
export const VP8_CAPS = 'application/x-rtp,media=video,encoding-name=VP8,payload=96,clock-rate=90000';
export const OPUS_CAPS = 'application/x-rtp,media=audio,encoding-name=OPUS,payload=111,clock-rate=48000';

/** GStreamer's webrtcbin, in a process of its own. */
export class WebRtcBinPeer {
  /** Pictures and pieces of sound that a player has decoded, by codec. */
  decoded: Partial<Record<string, number>> = {};
  iceState = 'new';
  offerSdp = '';

  private constructor(private readonly child: ChildProcessWithoutNullStreams) {
    child.stderr.resume();
  }

  static async publish(webRtc: WebRtc, sessionId: string, options: WebRtcBinOptions = {}): Promise<WebRtcBinPeer> {
    return WebRtcBinPeer.#start('publish', options, [H264_PICTURE + OPUS_TONE], async (offerSdp) =>
      webRtc.publish(
        create(PublishRequestSchema, { tenant: 'demo', streamName: 'cam', sessionId, ownerId: 'owner', offerSdp }),
      ),
    );
  }

  static async play(
    webRtc: WebRtc,
    sessionId: string,
    { caps = [H264_CAPS, OPUS_CAPS], ...options }: WebRtcBinOptions & { caps?: string[] } = {},
  ): Promise<WebRtcBinPeer> {
    return WebRtcBinPeer.#start('play', options, caps, async (offerSdp) =>
      webRtc.play(
        create(PlayRequestSchema, { tenant: 'demo', streamName: 'cam', sessionId, ownerId: 'owner', offerSdp }),
      ),
    );
  }

  static async #start(
    kind: 'publish' | 'play',
    { bundlePolicy = 'max-bundle', editOffer = (sdp) => sdp }: WebRtcBinOptions,
    media: readonly string[],
    answer: (offerSdp: string) => Promise<{ answerSdp: string }>,
  ): Promise<WebRtcBinPeer> {
    const child = spawn(PYTHON, [program, kind, bundlePolicy, ...media], { stdio: 'pipe' });
    const peer = new WebRtcBinPeer(child);
    try {
      peer.offerSdp = editOffer(await peer.#offer());
      const { answerSdp } = await answer(peer.offerSdp);
      child.stdin.write(`${JSON.stringify({ answer: answerSdp })}\n`);
      return peer;
    } catch (error) {
      await peer.kill();
      throw error;
    }
  }

  /** Ends it like the death of its machine: it says no goodbye. */
  async kill(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const gone = once(this.child, 'exit');
    this.child.kill('SIGKILL');
    await gone;
  }

  #offer(): Promise<string> {
    return new Promise((resolve, reject) => {
      this.child.once('exit', (code) => reject(new Error(`webrtcbin.py ended with ${code}`)));
      createInterface(this.child.stdout).on('line', (line) => {
        const { offer, error, decoded, ice } = spoken.parse(JSON.parse(line));
        if (error !== undefined) reject(new Error(error));
        if (offer !== undefined) resolve(offer);
        if (decoded !== undefined) this.decoded = decoded;
        if (ice !== undefined) this.iceState = ice;
      });
    });
  }
}
