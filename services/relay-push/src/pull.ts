import { randomUUID } from 'node:crypto';
import { EndReason, ErrorCode, isWeirError, type StreamInfo } from '@weir/contracts';
import {
  isRtcp,
  parseRtcp,
  payloadTypeOf,
  ssrcOf,
  writeDescription,
  writeNack,
  writePictureLoss,
  writeReceiverReport,
  writeSenderReport,
} from '@weir/frames';
import type { Feed, FeedPath, FedTrack } from '@weir/media-client';
import type { ClientStream } from '@weir/protocol-wcs';
import type { AnsweredCodec, AnsweredMedia } from '@weir/sdp';
import { consequenceOf, type Attempt, type AttemptEnd, type AttemptListener, type AttemptStats } from './attempt.js';
import { RECEIVED_CODECS, receivedTrack } from './codecs.js';
import type { AgreedSection } from './peer/peer.js';
import { ReceivedTrack } from './peer/received-track.js';
import { randomSsrc, type RelayPorts } from './push.js';
import { RemoteStream } from './remote-stream.js';

export interface PullOptions {
  readonly tenant: string;
  readonly localStreamName: string;
  readonly uri: string;
  readonly remote: Pick<ClientStream, 'name' | 'connection'>;
  /** Labels that the media core stores with the stream and returns with it. */
  readonly labels: Readonly<Record<string, string>>;
  readonly listener: AttemptListener;
}

/** Packets that arrive before the media core is ready are held, because the first key frame is among them. */
const MAX_HELD_PACKETS = 600;
/** How long to wait for packets of every medium after the first packet. */
const FIRST_PACKETS_MS = 1_500;
const LOSS_INTERVAL_MS = 20;
const REPORT_INTERVAL_MS = 1_000;
const KEY_FRAME_PAUSE_MS = 300;

interface Medium {
  readonly section: AgreedSection;
  /** The answer's codecs that were also offered. */
  readonly codecs: readonly AnsweredCodec[];
  /** The codec that the remote sends; known at once if there is only one. */
  codec: AnsweredCodec | undefined;
  readonly held: Buffer[];
}

interface Fed {
  readonly section: AgreedSection;
  readonly codecs: readonly AnsweredCodec[];
  readonly track: ReceivedTrack;
  readonly fed: FedTrack;
  readonly path: FeedPath;
  packets: number;
  octets: number;
}

type Feeding =
  | { readonly tag: 'waiting'; readonly media: readonly Medium[]; timer: NodeJS.Timeout | undefined }
  | { readonly tag: 'opening'; readonly media: readonly Medium[] }
  | { readonly tag: 'open'; readonly tracks: readonly Fed[] };

/** One attempt to play another server's stream and publish it here. */
export class PullAttempt implements Attempt {
  readonly localMediaSessionId = randomUUID();
  readonly remoteMediaSessionId = randomUUID();
  /** Our SSRC in the feedback to the remote. */
  readonly #ssrc = randomSsrc();
  #remote: RemoteStream | undefined;
  #session: Feed | undefined;
  #feeding: Feeding = { tag: 'waiting', media: [], timer: undefined };
  readonly #notCarried: string[] = [];
  readonly #timers: NodeJS.Timeout[] = [];
  #keyFrameAtMs = 0;
  #keyFrameRequests = 0;
  #nackedPackets = 0;
  #fractionLost = 0;
  #isOver = false;

  constructor(
    private readonly ports: RelayPorts,
    private readonly options: PullOptions,
  ) {}

  start(): void {
    this.#open().catch((error: unknown) => this.#localFailed(error));
  }

  stop(): void {
    if (this.#remote === undefined) this.#end({ tag: 'stopped' });
    else this.#remote.stop();
  }

  get stats(): AttemptStats {
    const all = this.#feeding.tag === 'open' ? this.#feeding.tracks.map(({ track }) => track.stats) : [];
    return {
      packets: all.reduce((total, { packets }) => total + packets, 0),
      bytes: all.reduce((total, { bytes }) => total + bytes, 0),
      resentPackets: this.#nackedPackets,
      fractionLost: this.#fractionLost,
      rttMs: this.#rttMs,
      availableBps: undefined,
      keyFrameRequests: this.#keyFrameRequests,
      silentMs: Math.round(this.#remote?.silentMs ?? 0),
    };
  }

  get #rttMs(): number | undefined {
    return this.#feeding.tag === 'open' ? this.#feeding.tracks[0]?.section.path.rttMs : undefined;
  }

  async #open(): Promise<void> {
    const { media, remote } = this.ports;
    const { tenant, localStreamName, uri, listener } = this.options;
    const present = await media.find({ tenant, streamName: localStreamName });
    if (this.#isOver) return;
    if (present !== undefined && !this.#isOwn(present)) return this.#end({ tag: 'local-busy' });
    this.#remote = new RemoteStream(remote, {
      uri,
      stream: { direction: 'play', mediaSessionId: this.remoteMediaSessionId, ...this.options.remote },
      cname: this.localMediaSessionId,
      sections: (['audio', 'video'] as const).map((kind) => ({
        ...{ kind, direction: 'recvonly', codecs: RECEIVED_CODECS[kind] },
      })),
      listener: {
        agreed: (sections, answered) => this.#agreed(sections, answered),
        connected: () => this.#connected(),
        running: () => listener.running(),
        muted: (medium, muted) => this.#muted(medium, muted),
        rtp: (packet) => this.#fromRemote(packet),
        rtcp: (packet) => this.#reportsFromRemote(packet),
        ended: (end) => this.#end(end),
      },
    });
    this.#remote.start();
  }

  #agreed(sections: readonly AgreedSection[], answered: readonly AnsweredMedia[]): void {
    const media = sections.flatMap((section): Medium[] => {
      const codecs = section.media.codecs.filter((codec) => receivedTrack(codec, 1) !== undefined);
      const names = new Set(codecs.map(({ name }) => name));
      const [first] = codecs;
      return first === undefined ? [] : [{ section, codecs, codec: names.size === 1 ? first : undefined, held: [] }];
    });
    this.#notCarried.push(...untaken(answered, media));
    if (media.length === 0) return this.#nothingToFeed();
    this.#feeding = { tag: 'waiting', media, timer: undefined };
    if (media.every(({ codec }) => codec !== undefined)) this.#feed(media);
  }

  #connected(): void {
    this.#timers.push(
      setInterval(() => this.#askForLost(), LOSS_INTERVAL_MS),
      setInterval(() => this.#report(), REPORT_INTERVAL_MS),
    );
  }

  #fromRemote(packet: Buffer): void {
    const feeding = this.#feeding;
    switch (feeding.tag) {
      case 'open':
        return this.#forward(packet, feeding.tracks);
      case 'opening':
        return this.#hold(packet, feeding.media);
      case 'waiting': {
        this.#hold(packet, feeding.media);
        feeding.timer ??= this.#later(FIRST_PACKETS_MS, () => this.#feed(feeding.media));
        if (feeding.media.every(({ codec }) => codec !== undefined)) this.#feed(feeding.media);
        return;
      }
      default:
        feeding satisfies never;
    }
  }

  #hold(packet: Buffer, media: readonly Medium[]): void {
    const medium = mediumOf(packet, media);
    if (medium === undefined) return;
    const payloadType = payloadTypeOf(packet);
    medium.codec ??= medium.codecs.find((codec) => codec.payloadType === payloadType);
    if (medium.held.length < MAX_HELD_PACKETS) medium.held.push(packet);
  }

  #feed(media: readonly Medium[]): void {
    if (this.#feeding.tag !== 'waiting' || this.#isOver) return;
    clearTimeout(this.#feeding.timer);
    const known = media.filter(({ codec }) => codec !== undefined);
    for (const { section, codec } of media)
      if (codec === undefined) this.#notCarried.push(`${section.kind}: nothing that was agreed on came in time`);
    if (known.length === 0) return this.#nothingToFeed();
    this.#feeding = { tag: 'opening', media: known };
    this.#openFeed(known).catch((error: unknown) => this.#localFailed(error));
  }

  async #openFeed(media: readonly Medium[]): Promise<void> {
    const { tenant, localStreamName, labels } = this.options;
    const { rtpAddress } = this.ports;
    const fedMedia = media.flatMap((medium) => {
      const fed = medium.codec && receivedTrack(medium.codec, randomSsrc());
      return fed === undefined ? [] : [{ medium, fed }];
    });
    const feed = this.ports.media.feed(
      { tenant, streamName: localStreamName },
      {
        sessionId: this.localMediaSessionId,
        tracks: fedMedia.map(({ fed }) => fed),
        claim: { claimer: `relay:${labels['relayId'] ?? this.localMediaSessionId}` },
        ...{ labels, rtpAddress },
      },
    );
    this.#session = feed;
    void feed.ended.then((ending) => {
      if (ending.tag === 'ended') this.#localEnded(ending.reason);
    });
    const paths = await feed.opened;
    if (this.#isOver) return;
    const tracks = fedMedia.flatMap(({ medium: { section, codecs }, fed }, index): Fed[] => {
      const path = paths[index];
      const { payloadType, ssrc } = fed;
      const track = new ReceivedTrack({ clockRate: fed.track.clockRate, out: { payloadType, ssrc } });
      return path === undefined ? [] : [{ section, codecs, track, fed, path, packets: 0, octets: 0 }];
    });
    for (const each of tracks) each.path.onPacket((packet) => this.#fromMediaCore(packet, each));
    this.#feeding = { tag: 'open', tracks };
    this.options.listener.accepted(this.#notCarried);
    for (const { medium } of fedMedia) for (const packet of medium.held) this.#forward(packet, tracks);
  }

  #forward(packet: Buffer, tracks: readonly Fed[]): void {
    const track = mediumOf(packet, tracks);
    if (track === undefined) return;
    const nowMs = Date.now();
    const renamed = track.track.receive(packet, nowMs);
    if (renamed === undefined) return;
    track.packets += 1;
    track.octets += renamed.length;
    track.path.send(renamed);
    this.#askForLostOf(track, nowMs);
  }

  #askForLost(): void {
    if (this.#feeding.tag !== 'open') return;
    const nowMs = Date.now();
    for (const track of this.#feeding.tracks) this.#askForLostOf(track, nowMs);
  }

  #askForLostOf({ track, section }: Fed, nowMs: number): void {
    const { wanted, abandoned } = track.losses(nowMs, section.path.rttMs ?? 0);
    if (wanted.length > 0 && track.ssrc !== undefined) {
      this.#nackedPackets += wanted.length;
      section.path.sendRtcp(this.#compound(writeNack(this.#ssrc, track.ssrc, wanted)));
    }
    if (abandoned > 0 && section.kind === 'video') this.#requestKeyFrame();
  }

  #report(): void {
    if (this.#feeding.tag !== 'open') return;
    const nowMs = Date.now();
    for (const { track, section } of this.#feeding.tracks) {
      const report = track.report(nowMs);
      if (report === undefined) continue;
      this.#fractionLost = report.fractionLost;
      section.path.sendRtcp(
        Buffer.concat([
          writeReceiverReport(this.#ssrc, [report]),
          writeDescription(this.#ssrc, this.localMediaSessionId),
        ]),
      );
    }
  }

  /** Passes the remote's sender reports to the media core, with the SSRCs that the media core knows. */
  #reportsFromRemote(packet: Buffer): void {
    if (this.#feeding.tag !== 'open') return;
    for (const message of parseRtcp(packet)) {
      if (message.tag !== 'sender-report') continue;
      for (const { track, fed, path, packets, octets } of this.#feeding.tracks) {
        const renamed = track.senderReport(message, Date.now());
        if (renamed === undefined) continue;
        const { ssrc } = fed;
        const report = writeSenderReport({ ...renamed, ssrc, packetCount: packets, octetCount: octets });
        path.send(Buffer.concat([report, writeDescription(ssrc, this.localMediaSessionId)]));
      }
    }
  }

  /** Forwards only the media core's requests for key frames; this side knows better which packets are lost. */
  #fromMediaCore(packet: Buffer, { section }: Fed): void {
    if (section.kind !== 'video' || !isRtcp(packet)) return;
    const wantsKeyFrame = parseRtcp(packet).some(({ tag }) => tag === 'picture-loss' || tag === 'full-intra-request');
    if (wantsKeyFrame) this.#requestKeyFrame();
  }

  #requestKeyFrame(): void {
    const nowMs = Date.now();
    if (this.#feeding.tag !== 'open' || nowMs - this.#keyFrameAtMs < KEY_FRAME_PAUSE_MS) return;
    const video = this.#feeding.tracks.find(({ section }) => section.kind === 'video');
    if (video?.track.ssrc === undefined) return;
    this.#keyFrameAtMs = nowMs;
    this.#keyFrameRequests += 1;
    video.section.path.sendRtcp(this.#compound(writePictureLoss(this.#ssrc, video.track.ssrc)));
  }

  /** Feedback follows a report, for servers that don't know reduced-size RTCP. */
  #compound(feedback: Buffer): Buffer {
    return Buffer.concat([writeReceiverReport(this.#ssrc, []), feedback]);
  }

  #muted(medium: 'audio' | 'video', muted: boolean): void {
    const { tenant, localStreamName } = this.options;
    const { nodeId, sessionId } = this.#session ?? {};
    if (nodeId === undefined || sessionId === undefined) return;
    const kind = { case: medium === 'audio' ? ('audioMuted' as const) : ('videoMuted' as const), value: muted };
    void this.ports.media.signal({ tenant, streamName: localStreamName, nodeId }, sessionId, { kind });
  }

  #nothingToFeed(): void {
    this.#remote?.fail({ tag: 'no-common-codecs', notCarried: this.#notCarried });
  }

  /**
   * Whether the stream is left over from a dead instance of this relay or from an earlier attempt. In that case the
   * media core gives its name to this attempt.
   */
  #isOwn({ labels }: StreamInfo): boolean {
    const relayId = this.options.labels['relayId'];
    return relayId !== undefined && labels['relayId'] === relayId;
  }

  #localFailed(error: unknown): void {
    if (this.#isOver) return;
    const detail = error instanceof Error ? error.message : String(error);
    const end: AttemptEnd = isWeirError(error, ErrorCode.ALREADY_EXISTS)
      ? { tag: 'local-busy' }
      : isWeirError(error, ErrorCode.FORBIDDEN)
        ? { tag: 'local-reserved' }
        : { tag: 'local-failed', detail };
    if (this.#remote === undefined) this.#end(end);
    else this.#remote.fail(end);
  }

  #localEnded(reason: EndReason): void {
    this.#session = undefined;
    const isStarved = reason === EndReason.NO_MEDIA || reason === EndReason.SOURCE_TIMEOUT;
    this.#remote?.fail(isStarved ? { tag: 'no-media' } : { tag: 'local-ended', reason });
  }

  #later(delayMs: number, work: () => void): NodeJS.Timeout {
    const timer = setTimeout(work, delayMs);
    this.#timers.push(timer);
    return timer;
  }

  #end(end: AttemptEnd): void {
    if (this.#isOver) return;
    this.#isOver = true;
    // A server that relays this stream further waits for a source that has failed, but not for one that has ended.
    this.#release(consequenceOf(end) === 'retry' ? EndReason.SOURCE_FAILED : EndReason.CLIENT);
    this.options.listener.ended(end);
  }

  #release(reason = EndReason.CLIENT): void {
    for (const timer of this.#timers) clearTimeout(timer);
    // The media client waits for this before it closes.
    void this.#session?.close(reason);
    this.#session = undefined;
  }
}

/**
 * The media that the pull leaves out: the server refused them or has them only in codecs that can't be taken. An
 * inactive section isn't a medium of the server's stream.
 */
const untaken = (answered: readonly AnsweredMedia[], media: readonly Medium[]): string[] =>
  answered.flatMap(({ kind, accepted, direction, codecs }) => {
    const isInactive = accepted && (direction === 'inactive' || direction === 'recvonly');
    if (kind === 'other' || isInactive || media.some(({ section }) => section.kind === kind)) return [];
    const taken = [...new Set(RECEIVED_CODECS[kind].map(({ name }) => name))].join(', ');
    const sent = accepted ? [...new Set(codecs.map(({ name }) => name.toUpperCase()))].join(', ') : '';
    return sent === ''
      ? [`${kind}: the other server sends it in none of ${taken}`]
      : [`${kind} ${sent}: only ${taken} can be taken`];
  });

/** The medium that a packet belongs to, by the SSRC that the answer named or else by the payload type. */
const mediumOf = <Each extends { readonly section: AgreedSection; readonly codecs: readonly AnsweredCodec[] }>(
  packet: Buffer,
  media: readonly Each[],
): Each | undefined => {
  const ssrc = ssrcOf(packet);
  const payloadType = payloadTypeOf(packet);
  const fits = ({ codecs }: Each) => codecs.some((codec) => codec.payloadType === payloadType);
  return media.find((each) => each.section.media.ssrcs.includes(ssrc) && fits(each)) ?? media.find(fits);
};
