import { once } from 'node:events';
import { waitFor } from '@weir/testing';
import { ntpTimeOf } from '@weir/frames';
import {
  MediaStreamTrack,
  RTCPeerConnection,
  RTCRtpCodecParameters,
  RtcpSenderInfo,
  RtcpSrPacket,
  type RTCRtpSender,
} from 'werift';
import { WebSocket } from 'ws';
import { z } from 'zod';
import { RecordingApp } from '../src/recording-app.js';
import type { KnownTrack } from './known-media.js';
import { KnownPackets } from './known-packets.js';
import type { Connection } from './known-source.js';

export interface SessionOptions {
  readonly httpUrl: string;
  readonly masterKey: string;
  readonly clientId: string;
  readonly webhookUrl: string;
  /** A VP8 video and Opus sound. */
  readonly tracks: readonly KnownTrack[];
}

const ANSWER_TIMEOUT_MS = 10_000;
const REPORT_INTERVAL_MS = 1_000;

const frame = z.object({ type: z.string(), data: z.record(z.string(), z.unknown()).default({}) });
type Frame = z.output<typeof frame>;
const answerData = z.object({ sdp: z.object({ type: z.literal('answer'), sdp: z.string() }) });
const startedData = z.object({ rec_id: z.string() });

/** A client of the second generation of the recording protocol. */
export class RecordedSession {
  readonly #told: Frame[] = [];
  readonly #peer = new RTCPeerConnection({
    iceServers: [],
    iceUseIpv6: false,
    iceAdditionalHostAddresses: ['127.0.0.1'],
    codecs: {
      video: [new RTCRtpCodecParameters({ mimeType: 'video/VP8', clockRate: 90_000, rtcpFeedback: [] })],
      audio: [new RTCRtpCodecParameters({ mimeType: 'audio/opus', clockRate: 48_000, channels: 2 })],
    },
  });
  #isLost = false;

  private constructor(
    readonly id: string,
    private readonly options: SessionOptions,
    private readonly socket: WebSocket,
  ) {
    socket.on('message', (data: Buffer) => this.#told.push(frame.parse(JSON.parse(data.toString()))));
    socket.on('close', () => {
      this.#isLost = true;
    });
    socket.on('error', () => undefined); // `close` follows
  }

  /** Resolves when the session is live and its media can be sent. */
  static async start(options: SessionOptions): Promise<RecordedSession> {
    const { httpUrl, masterKey, clientId } = options;
    const { token, id, endpoint } = await new RecordingApp({ httpUrl, masterKey }).session(clientId);
    const socket = new WebSocket(`${endpoint}?auth_token=${token}`);
    await once(socket, 'open', { signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS) });
    const session = new RecordedSession(id, options, socket);
    try {
      await session.#connect();
      return session;
    } catch (error) {
      session.#close();
      throw error;
    }
  }

  get isLost(): boolean {
    return this.#isLost;
  }

  /** Its media's way into the platform. */
  get connection(): Connection {
    const { tracks } = this.options;
    const senders = this.#peer.getSenders();
    const packets = tracks.map((track, index) => new KnownPackets(track, 101 + index));
    const isLost = () => this.#isLost;
    const reports = senders.map((sender) => new SenderReports(sender));
    return {
      get isLost() {
        return isLost();
      },
      send: (track, known, rtpTimestamp, capturedMs) => {
        for (const packet of packets[track]?.of(known, rtpTimestamp) ?? []) void senders[track]?.sendRtp(packet);
        reports[track]?.sent(rtpTimestamp, capturedMs);
      },
      close: () => this.#close(),
    };
  }

  /** @returns the recording's id */
  async record(uploadUrl: string): Promise<string> {
    this.#say('recording_start', { upload_url: uploadUrl, webhook_url: this.options.webhookUrl });
    const { data } = await this.#heard('recording_state', ({ state }) => state === 'started');
    return startedData.parse(data).rec_id;
  }

  /** Leaves, and with that ends the recording. Does nothing if the platform has ended the session. */
  stop(): void {
    if (!this.#isLost) this.#say('session_stop');
  }

  async #connect(): Promise<void> {
    const { tracks } = this.options;
    for (const { codec } of tracks) {
      const track = new MediaStreamTrack({ kind: codec === 'VP8' ? 'video' : 'audio' });
      this.#peer.addTransceiver(track, { direction: 'sendonly' });
    }
    await this.#peer.setLocalDescription(await this.#peer.createOffer());
    const sdp = { type: 'offer', sdp: this.#peer.localDescription?.sdp };
    this.#say('session_start', { sdp, webhook_url: this.options.webhookUrl });
    const { data } = await this.#heard('sdp_update');
    await this.#peer.setRemoteDescription(answerData.parse(data).sdp);
    await waitFor(() => this.#peer.connectionState === 'connected', {
      timeoutMs: ANSWER_TIMEOUT_MS,
      what: 'the connection of a session',
    });
  }

  #say(type: string, data?: object): void {
    const ids = { client_id: this.options.clientId, session_id: this.id };
    this.socket.send(JSON.stringify({ type, ...ids, ...(data && { data }) }));
  }

  #heard(type: string, holds: (data: Frame['data']) => boolean = () => true): Promise<Frame> {
    return waitFor(
      () => {
        const refusal = this.#told.find((message) => message.type === 'error');
        if (this.#isLost || refusal !== undefined) throw new Error(`the session has ended: ${JSON.stringify(refusal)}`);
        return this.#told.find((message) => message.type === type && holds(message.data));
      },
      { timeoutMs: ANSWER_TIMEOUT_MS, what: `a message ${type}` },
    );
  }

  #close(): void {
    this.socket.terminate();
    void this.#peer.close();
  }
}

/** Reports when frames were captured. Those that werift makes by itself are wrong by up to a second. */
class SenderReports {
  #reportedMs = -Infinity;

  constructor(private readonly sender: RTCRtpSender) {
    sender.rtcpRunning = true;
  }

  sent(rtpTimestamp: number, capturedMs: number): void {
    if (capturedMs - this.#reportedMs < REPORT_INTERVAL_MS) return;
    this.#reportedMs = capturedMs;
    const { ntpSeconds, ntpFraction } = ntpTimeOf(capturedMs);
    const ntpTimestamp = (BigInt(ntpSeconds) << 32n) | BigInt(ntpFraction);
    const senderInfo = new RtcpSenderInfo({ ntpTimestamp, rtpTimestamp, packetCount: 0, octetCount: 0 });
    void this.sender.dtlsTransport.sendRtcp([new RtcpSrPacket({ ssrc: this.sender.ssrc, senderInfo })]);
  }
}
