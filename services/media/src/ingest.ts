import { create } from '@bufbuild/protobuf';
import { CodecsSchema, EndReason, type StreamInfo } from '@weir/contracts';
import { aacConfigBytes, isDecodable, parseAacConfig, SourceClock, type TrackDescription } from '@weir/frames';
import type { SdpTrack } from '@weir/sdp';
import type { Logger } from '@weir/platform';
import { NativeTrack } from './native-track.js';
import type { SessionNotifier } from './notifier.js';
import type { Session, SessionIdentity, SessionStatsInit } from './session.js';
import type { Stream, StreamListener, StreamSource } from './stream.js';
import { StreamTranscoder, type Transcoders } from './transcoder.js';

export interface IngestOptions {
  identity: SessionIdentity;
  info: StreamInfo;
  notifier: SessionNotifier;
  transcoders: Transcoders;
  log: Logger;
  /** The time that a lost source has to come back. */
  graceMs: number;
  maxOwnFeeds: number;
  nowMs(): number;
  /** Called when the tracks are known: begins the stream. */
  open(session: IngestSession): Stream;
  /** Called when the session has ended. It may never have had a stream. */
  onClosed(session: IngestSession): void;
}

/** Brings the media: a pusher's connection, or the puller. */
export interface MediaCarrier {
  stop(cause: 'stream-ended' | 'replaced'): void;
}

type IngestState =
  /** The source hasn't come yet, or is lost and may come back. */
  { tag: 'waiting'; timer: NodeJS.Timeout | undefined } | { tag: 'live'; packets: number } | { tag: 'closed' };

/** The session of an RTSP source whose RTP comes into this process. It is also the source of the stream. */
export class IngestSession implements Session, StreamSource, StreamListener {
  readonly tag = 'publisher';
  readonly identity: SessionIdentity;
  stream: Stream | undefined;
  #state: IngestState = { tag: 'waiting', timer: undefined };
  #live: NativeTrack[] = [];
  readonly #transcoder: StreamTranscoder;
  #clock = new SourceClock();
  #reportedConnected = false;
  #bytes = { video: 0, audio: 0 };
  #lastStats = { ms: 0, video: 0, audio: 0 };
  #carrier: MediaCarrier | undefined;

  constructor(private readonly options: IngestOptions) {
    this.identity = options.identity;
    this.#transcoder = new StreamTranscoder({
      transcoders: options.transcoders,
      tracks: () => this.#live,
      cname: options.identity.sessionId,
      info: options.info,
    });
  }

  get info(): StreamInfo {
    return this.options.info;
  }

  get tracks(): readonly NativeTrack[] {
    return this.#live;
  }

  get connected(): boolean {
    return this.#state.tag === 'live';
  }

  /** The stream's source is lost at this moment. */
  get broken(): boolean {
    return this.#state.tag !== 'live' && this.stream !== undefined;
  }

  get transcoding(): boolean {
    return this.#transcoder.active;
  }

  get waiting(): boolean {
    return this.#state.tag === 'waiting';
  }

  /** False, because `lost` handles a lost source: it gives the source time to come back. */
  readonly isSilent = false;

  standsOn(): boolean {
    return false; // a dead worker takes only players' feeds with it; the source's packets come to this process
  }

  /** Ends the session when the source doesn't come in time. */
  expectWithin(timeoutMs: number): void {
    this.#wait(timeoutMs, EndReason.SOURCE_TIMEOUT, 'no source came in time');
  }

  /**
   * Begins with the tracks that the source announces. A source that comes back with the same tracks goes on with its
   * stream. With other tracks the stream would have to change for its viewers, so it ends, and the owner is told.
   */
  begin(announced: readonly SdpTrack[]): 'begun' | 'unsupported' | 'changed' | 'closed' {
    if (this.#state.tag === 'closed') return 'closed';
    const usable = usableTracks(announced);
    if (usable.length === 0) return 'unsupported';
    const descriptions = usable.map(({ description }) => description);
    const notCarried = notCarriedOf(announced);
    this.options.info.notCarried = notCarried;
    if (notCarried.length > 0) {
      const { streamName } = this.options.info;
      this.options.log.warn({ streamName, notCarried }, "a source sends what can't be carried");
    }
    if (this.stream !== undefined) {
      const same =
        descriptions.length === this.#live.length &&
        descriptions.every((description, index) => sameMedium(description, this.#live[index]?.description));
      if (!same) {
        this.end(EndReason.SOURCE_FAILED, 'the source came back with other media');
        return 'changed';
      }
      for (const [index, { description, payloadType }] of usable.entries())
        this.#live[index]?.restart(description, payloadType);
      this.stream.describeAnew();
    } else {
      this.#live = usable.map(
        ({ description, payloadType }) =>
          new NativeTrack({
            description,
            payloadType,
            cname: this.identity.sessionId,
            clock: this.#clock,
            transcoding: this.#transcoder,
            maxOwnFeeds: this.options.maxOwnFeeds,
            onKeyFrame: (atMs) => {
              for (const track of this.#live) if (track.description.kind === 'audio') track.keepSince(atMs);
            },
            onDescribed: () => this.stream?.describeAnew(),
            nowMs: this.options.nowMs,
          }),
      );
      this.options.info.codecs = create(CodecsSchema, {
        audio: descriptions.find(({ kind }) => kind === 'audio')?.codec ?? '',
        video: descriptions.find(({ kind }) => kind === 'video')?.codec ?? '',
      });
      this.stream = this.options.open(this);
    }
    this.#enter({ tag: 'live', packets: 0 });
    return 'begun';
  }

  /** @param index the track's index among the announced tracks that are usable */
  rtp(index: number, packet: Buffer): void {
    if (this.#state.tag !== 'live') return;
    const track = this.#live[index];
    if (track === undefined) return;
    this.#bytes[track.description.kind] += packet.length;
    track.push(packet);
    this.#state.packets += 1;
    if (this.#state.packets === 1) this.#flowing();
  }

  rtcp(index: number, packet: Buffer): void {
    if (this.#state.tag === 'live') this.#live[index]?.pushRtcp(packet);
  }

  /** Takes the media from this carrier from now on, and stops the previous one. */
  takeFrom(carrier: MediaCarrier): void {
    const former = this.#carrier;
    this.#carrier = carrier;
    former?.stop('replaced');
  }

  /** Called when the carrier is lost: the source has `graceMs` to come back. Ignores a carrier that was replaced. */
  lost(carrier: MediaCarrier, detail: string): void {
    if (this.#carrier !== carrier) return;
    if (this.#state.tag === 'live') this.#wait(this.options.graceMs, EndReason.SOURCE_FAILED, detail);
  }

  end(reason: EndReason, detail = ''): void {
    if (this.#state.tag === 'closed') return;
    this.close();
    this.stream?.end(reason);
    this.options.notifier.ended(this.identity, reason, detail);
    this.options.onClosed(this);
  }

  onStreamEnded(reason: EndReason): void {
    this.end(reason);
  }

  onVideoSize(width: number, height: number): void {
    this.options.notifier.videoSize(this.identity, width, height);
  }

  onSignal(): void {
    // RTSP can't carry signals to a source.
  }

  close(): void {
    if (this.#state.tag === 'closed') return;
    this.#enter({ tag: 'closed' });
    this.#transcoder.stop();
    for (const track of this.#live) track.close();
    this.#carrier?.stop('stream-ended');
  }

  async stats(nowMs: number): Promise<SessionStatsInit> {
    const { video, audio } = this.#bytes;
    const last = this.#lastStats;
    const perSecond = (bytes: number) => (nowMs > last.ms ? (bytes * 8_000) / (nowMs - last.ms) : 0);
    const meter = this.stream?.videoMeter;
    const stats = {
      sessionId: this.identity.sessionId,
      videoBps: BigInt(Math.round(perSecond(video - last.video))),
      audioBps: BigInt(Math.round(perSecond(audio - last.audio))),
      videoFps: this.stream?.videoFps ?? 0,
      width: meter?.width ?? 0,
      height: meter?.height ?? 0,
      videoKeyFrames: BigInt(meter?.keyFrames ?? 0),
    };
    this.#lastStats = { ms: nowMs, video, audio };
    return stats;
  }

  #flowing(): void {
    this.stream?.markReady();
    if (this.#reportedConnected) return;
    this.#reportedConnected = true;
    this.options.notifier.connected(this.identity);
  }

  #wait(timeoutMs: number, reason: EndReason, detail: string): void {
    this.#enter({ tag: 'waiting', timer: setTimeout(() => this.end(reason, detail), timeoutMs) });
  }

  #enter(state: IngestState): void {
    if (this.#state.tag === 'waiting') clearTimeout(this.#state.timer);
    this.#state = state;
  }
}

type Reading =
  | { tag: 'usable'; announcedIndex: number; payloadType: number; description: TrackDescription }
  | { tag: 'not-carried'; reason: string }
  /** A channel towards the source (the ONVIF back channel). Nothing is sent on it. */
  | { tag: 'back-channel' };

/** Finds at most one video and one audio track, each in a codec that RTSP players or ffmpeg can decode. */
function readTracks(announced: readonly SdpTrack[]): Reading[] {
  const kinds = new Set<string>();
  return announced.map((track, announcedIndex) => {
    const { kind, codec, payloadType, clockRate, channels, parameters } = track;
    const notCarried = (why: string): Reading => ({ tag: 'not-carried', reason: `${kind} ${codec}: ${why}` });
    if (track.direction === 'send') return { tag: 'back-channel' };
    if (kind === 'other') return notCarried('neither audio nor video');
    if (kinds.has(kind)) return notCarried(`a stream has one ${kind} track`);
    if (!isDecodable(kind, codec)) return notCarried('a codec that can be neither carried nor decoded');
    if (!isDescribed(codec, parameters)) return notCarried('its description lacks the config that decoders need');
    kinds.add(kind);
    const description = { kind, codec, clockRate, channels, parameters };
    return { tag: 'usable', announcedIndex, payloadType, description };
  });
}

/** AAC can't be decoded without its AudioSpecificConfig or StreamMuxConfig, and in RTSP only the SDP has it. */
function isDescribed(codec: string, parameters: Readonly<Record<string, string>>): boolean {
  if (codec === 'MP4A-LATM') return parameters['config'] !== undefined && parameters['cpresent'] !== '1';
  if (codec !== 'MPEG4-GENERIC') return true;
  const config = aacConfigBytes(parameters);
  return config !== undefined && parseAacConfig(config) !== undefined;
}

/** The announced tracks that become tracks of the stream, with their indexes among all announced tracks. */
export const usableTracks = (announced: readonly SdpTrack[]) =>
  readTracks(announced).filter((reading) => reading.tag === 'usable');

/** The reasons why some announced tracks aren't carried, one for each such track. */
export const notCarriedOf = (announced: readonly SdpTrack[]): string[] =>
  readTracks(announced).flatMap((reading) => (reading.tag === 'not-carried' ? [reading.reason] : []));

/** For AAC, only the SDP has the decoder's config and the layout of the packets. Video has its config in the stream. */
const FIXED_PARAMETERS = ['config', 'sizelength', 'indexlength', 'indexdeltalength'];

const sameMedium = (a: TrackDescription, b: TrackDescription | undefined): boolean =>
  a.kind === b?.kind &&
  a.codec === b.codec &&
  a.clockRate === b.clockRate &&
  a.channels === b.channels &&
  FIXED_PARAMETERS.every((name) => a.parameters[name]?.toLowerCase() === b.parameters[name]?.toLowerCase());
