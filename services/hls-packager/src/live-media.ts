import {
  LivePlaylist,
  renderMultivariantPlaylist,
  type PartOutput,
  type PlaylistOptions,
  type ResourceName,
  type SegmentOutput,
} from '@weir/hls';
import { withDiscontinuitiesFrom, withQueries } from './playlist-text.js';
import { StoredMedia } from './stored-media.js';
import { MEDIA } from './video-path.js';
import { WaitingRoom } from './waiting-room.js';

export interface LiveMediaOptions {
  playlist: PlaylistOptions;
  /** The first number of segments and of initialisation segments. */
  firstNumber: number;
  /** The number of discontinuities before the first segment. The first segment begins with another one. */
  discontinuitiesBefore: number;
  /** The query of a resource's address, percent-encoded. */
  queryOf: (resource: ResourceName) => string;
}

export interface WaitOptions {
  timeoutMs: number;
  signal?: AbortSignal | undefined;
}

export interface ReloadDirectives {
  readonly msn: string | undefined;
  readonly part: string | undefined;
}

interface Described {
  readonly codecs: readonly string[];
  readonly video: { width: number; height: number } | undefined;
}

/** What was measured since the last initialisation segment. It gives the rates until a segment is finished. */
interface Measured {
  ms: number;
  bytes: number;
  frames: number;
}

/** The index has the reasons for media that aren't carried under this name. */
const NOT_CARRIED = 'weir.not-carried';
const NEUTRAL_BPS = 1_000_000;

/** One stream as its viewers see it: the playlists, the segments, and the requests that wait for them. */
export class LiveMedia {
  /** The reasons why some media aren't in it, for people to read. */
  notCarried: readonly string[] = [];
  readonly #options: LiveMediaOptions;
  readonly #playlist: LivePlaylist;
  readonly #stored = new StoredMedia();
  readonly #room = new WaitingRoom();
  readonly #queries = new Map<string, string>();
  #described: Described | undefined;
  #measured: Measured = { ms: 0, bytes: 0, frames: 0 };
  #nextMsn: number;
  #nextInitId: number;
  #segmentMs = 0;
  #hasSegment = false;
  #rendered: { full?: string; skipped?: string } = {};

  constructor(options: LiveMediaOptions) {
    this.#options = options;
    this.#playlist = new LivePlaylist(options.playlist);
    this.#nextMsn = this.#nextInitId = options.firstNumber;
  }

  /** The numbers with which the next packager continues, and the longest part duration, which it must keep to. */
  get next(): { firstMsn: number; firstInitId: number; partTargetMs: number | undefined } {
    const { partTargetMs } = this.#playlist;
    return { firstMsn: this.#nextMsn, firstInitId: this.#nextInitId, partTargetMs };
  }

  get isReady(): boolean {
    return this.#playlist.isReady;
  }

  get hasSegment(): boolean {
    return this.#hasSegment;
  }

  /** Whether a player has a picture to begin with. False when the last key frame is too old to be kept. */
  get canBegin(): boolean {
    return this.#playlist.canBegin;
  }

  get hasEnded(): boolean {
    return this.#playlist.hasEnded;
  }

  get bytes(): number {
    return this.#stored.bytes;
  }

  get waiting(): number {
    return this.#room.size;
  }

  get codecs(): readonly string[] {
    return this.#described?.codecs ?? [];
  }

  /** Adds the outputs. Returns the parts among them, each with the wall-clock time of its end. */
  add(outputs: readonly SegmentOutput[]): { part: PartOutput; endsAtMs: number }[] {
    if (outputs.length === 0) return [];
    const parts: { part: PartOutput; endsAtMs: number }[] = [];
    for (const output of outputs) {
      this.#stored.add(output);
      this.#playlist.add(output);
      switch (output.tag) {
        case 'init':
          this.#nextInitId = output.initId + 1;
          this.#described = { codecs: output.codecs, video: output.video };
          this.#measured = { ms: 0, bytes: 0, frames: 0 };
          break;
        case 'part':
          parts.push({ part: output, endsAtMs: this.#measure(output) });
          break;
        case 'segment-end':
          this.#segmentMs = 0;
          this.#hasSegment = true;
          break;
        case 'stream-end':
          break;
        default:
          output satisfies never;
      }
    }
    this.#stored.forgetBefore(this.#playlist.oldestKept);
    this.#rendered = {};
    this.#room.changed();
    return parts;
  }

  /**
   * Waits for the first part, which shows the codecs, or for the first finished segment, with which players can begin.
   */
  async ready(what: 'part' | 'segment', options: WaitOptions): Promise<void> {
    const has = () => (what === 'part' ? this.#playlist.isReady : this.#hasSegment) || this.#playlist.hasEnded;
    await this.#room.wait(() => has() || undefined, options);
  }

  /** Answers a blocking playlist reload. `late`: the segment or part didn't come in time. */
  async reload({ msn, part }: ReloadDirectives, options: WaitOptions): Promise<'now' | 'bad-request' | 'late'> {
    const decide = () => {
      const decision = this.#playlist.decideReload(msn, part);
      return decision === 'wait' ? undefined : decision;
    };
    return (await this.#room.wait(decide, options)) ?? 'late';
  }

  /** The bytes of a resource. It waits for a part that the playlist announces. */
  async resource(name: ResourceName, options: WaitOptions): Promise<Uint8Array | 'gone' | 'late'> {
    const look = (): Uint8Array | 'gone' | undefined => {
      const bytes = this.#stored.get(name);
      if (bytes !== undefined) return bytes;
      return name.tag === 'part' && this.#playlist.decidePart(name.msn, name.index) === 'wait' ? undefined : 'gone';
    };
    return (await this.#room.wait(look, options)) ?? 'late';
  }

  /** The media playlist. All viewers get the same one, so it is written once for each part. */
  playlist(skip: boolean): string {
    const key = skip ? 'skipped' : 'full';
    return (this.#rendered[key] ??= withQueries(
      withDiscontinuitiesFrom(this.#options.discontinuitiesBefore, this.#playlist.render({ skip })),
      (resource) => this.#queryOf(resource),
    ));
  }

  /** The multivariant playlist. @param query the query of the media playlist's address, percent-encoded */
  index(query: string | undefined): string {
    const { ms, bytes, frames } = this.#measured;
    const measuredBps = ms > 0 ? (bytes * 8_000) / ms : NEUTRAL_BPS;
    const { peakBps, averageBps } = this.#playlist.bandwidth ?? { peakBps: measuredBps, averageBps: undefined };
    const { codecs = [], video } = this.#described ?? {};
    const frameRate = video !== undefined && frames > 0 && ms > 0 ? (frames * 1_000) / ms : undefined;
    const sessionData: Record<string, string> =
      this.notCarried.length > 0 ? { [NOT_CARRIED]: this.notCarried.join('; ') } : {};
    const variant = { uri: MEDIA, codecs, video, frameRate, peakBps, averageBps };
    return renderMultivariantPlaylist([variant], query, sessionData);
  }

  /** Ends all waiting: the requests get what there is now. */
  stopWaiting(): void {
    this.#room.close();
  }

  forget(): void {
    this.#room.close();
    this.#stored.clear();
  }

  #measure(part: PartOutput): number {
    this.#nextMsn = part.msn + 1;
    this.#segmentMs += part.durationMs;
    this.#measured.ms += part.durationMs;
    this.#measured.bytes += part.data.length;
    this.#measured.frames += part.videoFrames;
    return part.programDateTimeMs + this.#segmentMs;
  }

  #queryOf(resource: ResourceName): string {
    const key = resource.tag === 'init' ? `i${resource.initId}` : String(resource.msn);
    const known = this.#queries.get(key);
    if (known !== undefined) return known;
    const query = this.#options.queryOf(resource);
    if (this.#queries.size > 500) this.#queries.clear();
    this.#queries.set(key, query);
    return query;
  }
}
