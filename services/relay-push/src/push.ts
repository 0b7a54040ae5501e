import { randomBytes, randomUUID } from 'node:crypto';
import { ErrorCode, isWeirError, type EndReason, type TappedTrack } from '@weir/contracts';
import { isRtcp, parseRtcp, type RtcpMessage } from '@weir/frames';
import type { MediaClient, Tap } from '@weir/media-client';
import type { ClientStream } from '@weir/protocol-wcs';
import { ABS_SEND_TIME_URI, type OwnCodec } from '@weir/sdp';
import type { Attempt, AttemptEnd, AttemptListener, AttemptStats } from './attempt.js';
import { agreedCodec, kindOf, offeredCodecOf, type Kind } from './codecs.js';
import type { AgreedSection } from './peer/peer.js';
import { SentTrack } from './peer/sent-track.js';
import type { Transport } from './peer/transport.js';
import { RemoteStream, type RemotePorts } from './remote-stream.js';

export interface PushOptions {
  readonly tenant: string;
  readonly localStreamName: string;
  readonly uri: string;
  readonly remote: Pick<ClientStream, 'name' | 'connection'>;
  readonly listener: AttemptListener;
}

export interface RelayPorts {
  readonly media: MediaClient;
  readonly remote: RemotePorts;
  /** The address at which media nodes reach this process by UDP. */
  readonly rtpAddress: string;
}

interface Medium {
  readonly kind: Kind;
  readonly tapped: TappedTrack;
  readonly codec: OwnCodec;
  readonly ssrc: number;
}

interface Sent {
  readonly ssrc: number;
  readonly track: SentTrack;
  readonly path: Transport;
  reportedAtMs: number;
}

const KEY_FRAME_PAUSE_MS = 300;
const REPORT_INTERVAL_MS = 1_000;
/** A source that sends sender reports does so at least this often. */
const SOURCE_REPORT_MS = 6_000;

/** The name of a medium for people. */
const nameOf = ({ track }: TappedTrack): string => `${kindOf(track?.kind) ?? 'medium'} ${track?.codec ?? ''}`;

export const randomSsrc = (): number => randomBytes(4).readUInt32BE(0) || 1;

/** One attempt to publish a local stream on another server. */
export class PushAttempt implements Attempt {
  readonly localMediaSessionId = randomUUID();
  readonly remoteMediaSessionId = randomUUID();
  #tap: Tap | undefined;
  #remote: RemoteStream | undefined;
  readonly #media: Medium[] = [];
  readonly #notCarried: string[] = [];
  readonly #sent = new Map<Kind, Sent>();
  #reportTimer: NodeJS.Timeout | undefined;
  #isConnected = false;
  #keyFrameAtMs = 0;
  #keyFrameRequests = 0;
  #availableBps: number | undefined;
  #isOver = false;

  constructor(
    private readonly ports: RelayPorts,
    private readonly options: PushOptions,
  ) {}

  start(): void {
    this.#open().catch((error: unknown) => {
      if (isWeirError(error, ErrorCode.NOT_FOUND)) this.#end({ tag: 'local-missing' });
      else if (isWeirError(error, ErrorCode.NO_COMMON_CODECS))
        this.#end({ tag: 'no-common-codecs', notCarried: [error.message] });
      else this.#end({ tag: 'local-failed', detail: error instanceof Error ? error.message : String(error) });
    });
  }

  stop(): void {
    if (this.#remote === undefined) this.#end({ tag: 'stopped' });
    else this.#remote.stop();
  }

  get stats(): AttemptStats {
    const all = [...this.#sent.values()].map(({ track }) => track.stats);
    const sum = (valueOf: (stats: SentTrack['stats']) => number) =>
      all.reduce((total, each) => total + valueOf(each), 0);
    return {
      packets: sum(({ packets }) => packets),
      bytes: sum(({ bytes }) => bytes),
      resentPackets: sum(({ resent }) => resent),
      fractionLost: Math.max(0, ...all.map(({ fractionLost }) => fractionLost)),
      rttMs: all.map(({ rttMs }) => rttMs).find((rttMs) => rttMs !== undefined),
      availableBps: this.#availableBps,
      keyFrameRequests: this.#keyFrameRequests,
      silentMs: Math.round(this.#remote?.silentMs ?? 0),
    };
  }

  async #open(): Promise<void> {
    const { media, remote, rtpAddress } = this.ports;
    const { tenant, localStreamName, uri, listener } = this.options;
    const stream = await media.find({ tenant, streamName: localStreamName });
    if (stream === undefined) return this.#end({ tag: 'local-missing' });
    if (this.#isOver) return;
    const tap = media.tap(stream, {
      sessionId: this.localMediaSessionId,
      labels: { protocol: 'relay' },
      forWebrtc: true,
      rtpAddress,
    });
    this.#tap = tap;
    void tap.ended.then((ending) => {
      if (ending.tag === 'ended') this.#localEnded(ending.reason);
    });
    const tapped = await tap.opened;
    if (this.#isOver) return;
    this.#notCarried.push(...(tapped.stream ?? stream).notCarried);
    for (const track of tapped.tracks) {
      const codec = offeredCodecOf(track);
      if (codec === undefined) this.#notCarried.push(`${nameOf(track)}: no WCS server takes this codec`);
      else this.#media.push({ kind: codec.kind, tapped: track, codec, ssrc: randomSsrc() });
    }
    if (this.#media.length === 0) return this.#end({ tag: 'no-common-codecs', notCarried: this.#notCarried });
    tap.listen((kind, packet) => this.#fromSource(kind, packet));
    this.#remote = new RemoteStream(remote, {
      uri,
      stream: { direction: 'publish', mediaSessionId: this.remoteMediaSessionId, ...this.options.remote },
      cname: this.localMediaSessionId,
      sections: this.#media.map(({ kind, codec, ssrc }) => ({ kind, direction: 'sendonly', codecs: [codec], ssrc })),
      listener: {
        agreed: (sections) => this.#agreed(sections),
        connected: () => this.#connected(),
        running: () => listener.running(),
        muted: () => undefined,
        rtp: () => undefined,
        rtcp: (packet) => this.#fromRemote(packet),
        ended: (end) => this.#end(end),
      },
    });
    this.#remote.start();
  }

  #agreed(sections: readonly AgreedSection[]): void {
    for (const { kind, media, path } of sections) {
      const medium = this.#media.find((candidate) => candidate.kind === kind);
      const codec = medium && agreedCodec(medium.codec, media.codecs);
      if (medium === undefined || codec === undefined) continue;
      const track = new SentTrack({
        ssrc: medium.ssrc,
        payloadType: codec.payloadType,
        clockRate: medium.codec.clockRate,
        cname: this.localMediaSessionId,
        absSendTimeId: media.headerExtensions.find(({ uri }) => uri === ABS_SEND_TIME_URI)?.id,
        protect: (header, payload) => path.protectRtp(header, payload),
        send: (packet) => path.sendProtected(packet),
      });
      this.#sent.set(kind, { ssrc: medium.ssrc, track, path, reportedAtMs: 0 });
    }
    for (const { kind, tapped } of this.#media)
      if (!this.#sent.has(kind)) this.#notCarried.push(`${nameOf(tapped)}: the other server doesn't take it`);
    if (this.#sent.size === 0) this.#remote?.fail({ tag: 'no-common-codecs', notCarried: this.#notCarried });
    else this.options.listener.accepted(this.#notCarried);
  }

  #connected(): void {
    this.#isConnected = true;
    this.#requestKeyFrame();
    this.#reportTimer = setInterval(() => this.#reportUnreported(), REPORT_INTERVAL_MS);
  }

  #fromSource(kind: Kind, packet: Buffer): void {
    const sent = this.#sent.get(kind);
    if (sent === undefined || !this.#isConnected) return;
    const nowMs = Date.now();
    if (!isRtcp(packet)) return sent.track.forward(packet, nowMs);
    for (const message of parseRtcp(packet)) {
      if (message.tag !== 'sender-report') continue;
      sent.reportedAtMs = nowMs;
      sent.path.sendRtcp(sent.track.senderReport(message, nowMs));
    }
  }

  /** Some sources never send sender reports; reports for them use the time at which their packets came. */
  #reportUnreported(): void {
    const nowMs = Date.now();
    for (const sent of this.#sent.values()) {
      if (nowMs - sent.reportedAtMs < SOURCE_REPORT_MS) continue;
      const report = sent.track.arrivalReport(nowMs);
      if (report !== undefined) sent.path.sendRtcp(report);
    }
  }

  #fromRemote(packet: Buffer): void {
    const nowMs = Date.now();
    for (const message of parseRtcp(packet)) this.#feedback(message, nowMs);
  }

  #feedback(message: RtcpMessage, nowMs: number): void {
    switch (message.tag) {
      case 'nack':
        return this.#sentBy(message.mediaSsrc)?.track.resend(message.sequenceNumbers, nowMs);
      case 'picture-loss':
        return this.#requestKeyFrame();
      case 'full-intra-request':
        return this.#requestKeyFrame();
      case 'estimated-max-bitrate':
        this.#availableBps = message.bps;
        return;
      case 'sender-report':
      case 'receiver-report':
        for (const report of message.reports) this.#sentBy(report.ssrc)?.track.reported(report, nowMs);
        return;
      case 'bye':
        return;
      default:
        message satisfies never;
    }
  }

  #sentBy(ssrc: number): Sent | undefined {
    return [...this.#sent.values()].find((sent) => sent.ssrc === ssrc);
  }

  #requestKeyFrame(): void {
    const nowMs = Date.now();
    if (this.#tap === undefined || nowMs - this.#keyFrameAtMs < KEY_FRAME_PAUSE_MS) return;
    this.#keyFrameAtMs = nowMs;
    this.#keyFrameRequests += 1;
    this.#tap.requestKeyFrame();
  }

  #localEnded(reason: EndReason): void {
    this.#tap = undefined;
    const end: AttemptEnd = { tag: 'local-ended', reason };
    if (this.#remote === undefined) this.#end(end);
    else this.#remote.fail(end);
  }

  #end(end: AttemptEnd): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#release();
    this.options.listener.ended(end);
  }

  #release(): void {
    clearInterval(this.#reportTimer);
    // The media client waits for this before it closes.
    void this.#tap?.close();
    this.#tap = undefined;
  }
}
