import type { PartOutput, SegmentOutput } from './segment-output.js';

export interface PlaylistOptions {
  /** Upper bound of every segment in whole seconds; the segmenter's `maxSegmentMs` in seconds, rounded up. */
  targetDurationS: number;
  /**
   * How much media stays in the playlist. It grows beyond this if otherwise no part that players can start with would
   * be left. RFC 8216 wants at least three target durations.
   */
  windowMs?: number;
  maxSegments?: number;
  /** Limit for all parts in the playlist together. Three finished segments always stay, whatever their size. */
  maxBytes?: number;
  /** How many segments that left the playlist can still be fetched by players that saw them. */
  graceSegments?: number;
  /** In multiples of the part target; the default is 2.5. RFC 8216bis requires at least 2 and recommends 3. */
  partHoldBack?: number;
}

interface PlaylistPart {
  durationMs: number;
  isIndependent: boolean;
}

interface PlaylistSegment {
  msn: number;
  initId: number;
  isDiscontinuity: boolean;
  programDateTimeMs: number;
  parts: PlaylistPart[];
  bytes: number;
  /** Undefined until the segment is finished. */
  durationMs: number | undefined;
}

export interface RenderOptions {
  /** `_HLS_skip=YES`: leave out what the player already knows. */
  skip?: boolean;
  /** Query that is added to every URI, without "?", such as `token=…`. The caller percent-encodes it. */
  query?: string;
}

/** What to do with a request for the playlist or for a part; `gone` also covers parts that never existed. */
export type ReloadDecision = 'now' | 'wait' | 'bad-request';
export type PartDecision = 'now' | 'wait' | 'gone';

/** The names of resources, relative to the playlist. */
export const initName = (initId: number) => `init-${initId}.mp4`;
export const segmentName = (msn: number) => `segment-${msn}.m4s`;
export const partName = (msn: number, index: number) => `part-${msn}-${index}.m4s`;

export type ResourceName =
  { tag: 'init'; initId: number } | { tag: 'segment'; msn: number } | { tag: 'part'; msn: number; index: number };

/** The inverse of the three functions above; undefined for any other name. */
export function parseResourceName(name: string): ResourceName | undefined {
  const match = /^(?:init-(\d{1,12})\.mp4|segment-(\d{1,12})\.m4s|part-(\d{1,12})-(\d{1,6})\.m4s)$/.exec(name);
  if (match === null) return undefined;
  if (match[1] !== undefined) return { tag: 'init', initId: Number(match[1]) };
  if (match[2] !== undefined) return { tag: 'segment', msn: Number(match[2]) };
  return { tag: 'part', msn: Number(match[3]), index: Number(match[4]) };
}

/** Parts are listed for at most the last three target durations (RFC 8216bis §4.4.4.9) … */
const MOST_TARGET_DURATIONS_WITH_PARTS = 3;
/**
 * … and for at most this many hold-backs. A player that has fallen further behind then loads whole segments and catches
 * up. If it loaded part after part on a busy machine, it would fall back until no parts are listed, and hls.js never
 * comes closer again.
 */
const PART_HOLD_BACKS_WITH_PARTS = 4;
const TARGET_DURATIONS_BEFORE_SKIP = 6;
const TARGET_DURATIONS_IN_WINDOW = 8;
/** A segment's date may be this far from the wall clock. … */
const MAX_DATE_ERROR_MS = 150;
/** … If it is further, dates move towards the wall clock by this share of the media's time, … */
const DATE_SLEW = 0.005;
/** … and at once from this far on. */
const DATE_JUMP_MS = 1_000;
/** Three finished segments and the one being written. */
const LEAST_SEGMENTS = 4;

/**
 * A Low-Latency HLS media playlist (RFC 8216bis) that grows with the segmenter's outputs. It knows only names, not
 * data.
 */
export class LivePlaylist {
  readonly #options: Required<PlaylistOptions>;
  #segments: PlaylistSegment[] = [];
  /** The target of the first part. It must not change, because players rely on the value they saw first. */
  #partTargetMs: number | undefined;
  #discontinuitySequence = 0;
  #nextMsn: number | undefined;
  #hasEnded = false;

  constructor(options: PlaylistOptions) {
    const windowMs = TARGET_DURATIONS_IN_WINDOW * options.targetDurationS * 1000;
    const bounds = { windowMs, maxSegments: 120, maxBytes: 64 * 1024 * 1024, graceSegments: 3 };
    this.#options = { ...bounds, partHoldBack: 2.5, ...options };
  }

  /** False until there is a part, because RFC 8216 doesn't allow an empty playlist. */
  get isReady(): boolean {
    return this.#segments.length > 0;
  }

  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  /** Upper bound of every part, for a packager that continues the playlist; undefined before the first part. */
  get partTargetMs(): number | undefined {
    return this.#partTargetMs;
  }

  /**
   * Whether there is a part that players can start with. A source's key frames may be further apart than the playlist
   * may grow.
   */
  get canBegin(): boolean {
    return this.#segments.some(hasBeginning);
  }

  /**
   * The highest and the mean bit rate of the segments in the playlist, in bits per second, for the multivariant
   * playlist.
   */
  get bandwidth(): { peakBps: number; averageBps: number } | undefined {
    const finished = this.#segments.filter(({ durationMs }) => durationMs !== undefined && durationMs > 0);
    if (finished.length === 0) return undefined;
    const totalMs = finished.reduce((sum, segment) => sum + segment.durationMs!, 0);
    const totalBytes = finished.reduce((sum, segment) => sum + segment.bytes, 0);
    const peakBps = Math.max(...finished.map((segment) => (segment.bytes * 8000) / segment.durationMs!));
    return { peakBps: Math.ceil(peakBps), averageBps: Math.ceil((totalBytes * 8000) / totalMs) };
  }

  add(output: SegmentOutput): void {
    switch (output.tag) {
      case 'init':
        return;
      case 'part':
        this.#addPart(output);
        return;
      case 'segment-end': {
        const segment = this.#segments.at(-1);
        if (segment?.msn === output.msn) segment.durationMs = output.durationMs;
        this.#nextMsn = output.msn + 1;
        this.#shorten();
        return;
      }
      case 'stream-end':
        this.#hasEnded = true;
        return;
      default:
        output satisfies never;
    }
  }

  /** Segments before `msn` and initialisation segments before `initId` may be deleted. */
  get oldestKept(): { msn: number; initId: number } {
    const first = this.#segments[0];
    return {
      msn: Math.max(0, (first?.msn ?? 0) - this.#options.graceSegments),
      initId: Math.max(0, (first?.initId ?? 0) - 1),
    };
  }

  /**
   * Blocking playlist reload (RFC 8216bis §6.2.5.2). `msn` and `part` are the texts of `_HLS_msn` and `_HLS_part`, if
   * given. No request is answered before there is a part, and none waits for a playlist that has ended.
   */
  decideReload(msn: string | undefined, part: string | undefined): ReloadDecision {
    if (msn === undefined && part !== undefined) return 'bad-request';
    const last = this.#segments.at(-1);
    if (last === undefined) return this.#hasEnded ? 'now' : 'wait';
    if (msn === undefined) return 'now';
    if (!/^\d{1,15}$/.test(msn) || (part !== undefined && !/^\d{1,9}$/.test(part))) return 'bad-request';
    if (this.#hasEnded) return 'now';
    const isOpen = last.durationMs === undefined;
    const wantedMsn = Number(msn);
    if (wantedMsn > last.msn + (isOpen ? 1 : 2)) return 'bad-request';
    if (wantedMsn !== last.msn) return wantedMsn < last.msn ? 'now' : 'wait';
    if (part === undefined) return isOpen ? 'wait' : 'now';
    if (Number(part) < last.parts.length) return 'now';
    // A number beyond the last part of a finished segment means the first part of the next segment.
    return isOpen && Number(part) >= last.parts.length + this.#advancePartLimit() ? 'bad-request' : 'wait';
  }

  #advancePartLimit(): number {
    const targetMs = this.#partTargetMs ?? 0;
    return targetMs < 1000 ? Math.ceil(3000 / Math.max(1, targetMs)) : 3;
  }

  /** Whether the part is available, is the hinted part that will come next, or can't be had. */
  decidePart(msn: number, index: number): PartDecision {
    const first = this.#segments[0];
    const last = this.#segments.at(-1);
    if (first === undefined || last === undefined) return 'gone';
    if (msn < first.msn - this.#options.graceSegments) return 'gone';
    if (msn < first.msn) return 'now';
    const segment = this.#segments.find((candidate) => candidate.msn === msn);
    if (segment !== undefined && index < segment.parts.length) return 'now';
    if (this.#hasEnded) return 'gone';
    const hinted = this.#hinted(last);
    return msn === hinted.msn && index === hinted.index ? 'wait' : 'gone';
  }

  render({ skip = false, query }: RenderOptions = {}): string {
    const suffix = query ? `?${query}` : '';
    const first = this.#segments[0];
    const { targetDurationS, partHoldBack } = this.#options;
    const partTargetMs = this.#partTargetMs ?? 0;
    const skipUntilMs = TARGET_DURATIONS_BEFORE_SKIP * targetDurationS * 1000;
    const skipped = skip && !this.#hasEnded ? this.#countOlderThan(skipUntilMs) : 0;
    const lines = [
      '#EXTM3U',
      '#EXT-X-VERSION:9',
      `#EXT-X-TARGETDURATION:${targetDurationS}`,
      '#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,' +
        `CAN-SKIP-UNTIL=${seconds(skipUntilMs)},` +
        `HOLD-BACK=${seconds(3 * targetDurationS * 1000)},` +
        `PART-HOLD-BACK=${seconds(partHoldBack * partTargetMs)}`,
      `#EXT-X-PART-INF:PART-TARGET=${seconds(partTargetMs)}`,
      `#EXT-X-MEDIA-SEQUENCE:${first?.msn ?? 0}`,
    ];
    const startMs = this.#startBeforeEndMs();
    if (startMs !== undefined) lines.push(`#EXT-X-START:TIME-OFFSET=-${seconds(startMs)},PRECISE=YES`);
    if (this.#discontinuitySequence > 0) lines.push(`#EXT-X-DISCONTINUITY-SEQUENCE:${this.#discontinuitySequence}`);
    if (skipped > 0) lines.push(`#EXT-X-SKIP:SKIPPED-SEGMENTS=${skipped}`);
    const firstWithParts = this.#firstWithParts();
    this.#segments.forEach((segment, index) => {
      if (index < skipped) return;
      const before = index === 0 ? undefined : this.#segments[index - 1];
      this.#renderSegment(lines, segment, before?.initId, index >= firstWithParts, suffix);
    });
    const last = this.#segments.at(-1);
    if (this.#hasEnded) lines.push('#EXT-X-ENDLIST');
    else if (last !== undefined) {
      const { msn, index } = this.#hinted(last);
      lines.push(`#EXT-X-PRELOAD-HINT:TYPE=PART,URI="${partName(msn, index)}${suffix}"`);
    }
    return `${lines.join('\n')}\n`;
  }

  #renderSegment(
    lines: string[],
    segment: PlaylistSegment,
    initIdBefore: number | undefined,
    withParts: boolean,
    suffix: string,
  ): void {
    if (segment.isDiscontinuity) lines.push('#EXT-X-DISCONTINUITY');
    if (segment.initId !== initIdBefore) lines.push(`#EXT-X-MAP:URI="${initName(segment.initId)}${suffix}"`);
    lines.push(`#EXT-X-PROGRAM-DATE-TIME:${new Date(Math.round(segment.programDateTimeMs)).toISOString()}`);
    if (withParts) {
      segment.parts.forEach((part, index) => {
        const independent = part.isIndependent ? ',INDEPENDENT=YES' : '';
        const uri = `${partName(segment.msn, index)}${suffix}`;
        lines.push(`#EXT-X-PART:DURATION=${seconds(part.durationMs)},URI="${uri}"${independent}`);
      });
    }
    if (segment.durationMs === undefined) return;
    lines.push(`#EXTINF:${seconds(segment.durationMs)},`, `${segmentName(segment.msn)}${suffix}`);
  }

  /**
   * How far before the end of the playlist players must start; undefined if they can start near the end. They start at
   * the last part that they can start with, if it is further back than a segment may last. Any later, they would show
   * nothing until the next key frame.
   */
  #startBeforeEndMs(): number | undefined {
    let afterMs = 0;
    for (const { parts } of this.#segments.toReversed()) {
      for (const { durationMs, isIndependent } of parts.toReversed()) {
        afterMs += durationMs;
        if (isIndependent) return afterMs > this.#options.targetDurationS * 1000 ? afterMs : undefined;
      }
    }
    return undefined;
  }

  #addPart(part: PartOutput): void {
    let segment = this.#segments.at(-1);
    if (segment?.msn !== part.msn) {
      const { msn, initId, isDiscontinuity } = part;
      const programDateTimeMs = this.#dateOf(part, segment);
      segment = { msn, initId, isDiscontinuity, programDateTimeMs, parts: [], bytes: 0, durationMs: undefined };
      this.#segments.push(segment);
    }
    segment.parts.push({ durationMs: part.durationMs, isIndependent: part.isIndependent });
    segment.bytes += part.data.length;
    this.#partTargetMs ??= part.partTargetMs;
    this.#shorten();
  }

  /**
   * Dates advance as the durations do, or nearly so while the wall clock is too far from that, as after the first half
   * second of a source that sends it all at once. hls.js aligns the playlists of its first seconds by their dates: a
   * difference shifts what it expects against what it has loaded. It may then load nothing for as long as a playlist
   * lasts, or its first key frame comes before its zero, where browsers drop it.
   */
  #dateOf({ programDateTimeMs, isDiscontinuity }: PartOutput, before: PlaylistSegment | undefined): number {
    if (before === undefined || isDiscontinuity) return programDateTimeMs;
    const durationMs = durationOf(before);
    const expectedMs = before.programDateTimeMs + durationMs;
    const errorMs = programDateTimeMs - expectedMs;
    if (Math.abs(errorMs) <= MAX_DATE_ERROR_MS) return expectedMs;
    if (Math.abs(errorMs) > DATE_JUMP_MS) return programDateTimeMs;
    return expectedMs + Math.sign(errorMs) * durationMs * DATE_SLEW;
  }

  #hinted(last: PlaylistSegment): { msn: number; index: number } {
    if (last.durationMs === undefined) return { msn: last.msn, index: last.parts.length };
    return { msn: this.#nextMsn ?? last.msn + 1, index: 0 };
  }

  /**
   * Every segment from this one on lists its parts, without a gap, because hls.js expects consecutive parts. They reach
   * back to the last part that players can start with, unless `EXT-X-START` sends players there: hls.js would load the
   * parts of that segment and then the whole segment again, and Chromium, whose pictures are replaced while it shows
   * them, would wait for the next key frame.
   */
  #firstWithParts(): number {
    const targetMs = this.#options.targetDurationS * 1000;
    const holdBackMs = this.#options.partHoldBack * (this.#partTargetMs ?? 0);
    const usual = this.#countOlderThan(
      Math.min(MOST_TARGET_DURATIONS_WITH_PARTS * targetMs, PART_HOLD_BACKS_WITH_PARTS * holdBackMs),
    );
    const beginning = this.#segments.findLastIndex(hasBeginning);
    const isListed = beginning >= 0 && this.#startBeforeEndMs() === undefined;
    return isListed ? Math.min(usual, beginning) : usual;
  }

  /** How many of the first segments end at least this long before the end of the playlist. */
  #countOlderThan(ms: number): number {
    let afterMs = 0;
    for (let index = this.#segments.length - 1; index >= 0; index--) {
      if (afterMs >= ms) return index + 1;
      afterMs += durationOf(this.#segments[index]!);
    }
    return 0;
  }

  #shorten(): void {
    const { windowMs, maxSegments, maxBytes } = this.#options;
    let bytes = this.#segments.reduce((sum, segment) => sum + segment.bytes, 0);
    let ms = this.#segments.reduce((sum, segment) => sum + durationOf(segment), 0);
    while (this.#segments.length > LEAST_SEGMENTS) {
      const first = this.#segments[0]!;
      const isTooLong = ms - durationOf(first) >= windowMs && this.#segments.slice(1).some(hasBeginning);
      if (!isTooLong && this.#segments.length <= maxSegments && bytes <= maxBytes) return;
      this.#segments.shift();
      bytes -= first.bytes;
      ms -= durationOf(first);
      if (first.isDiscontinuity) this.#discontinuitySequence++;
    }
  }
}

const hasBeginning = ({ parts }: PlaylistSegment) => parts.some(({ isIndependent }) => isIndependent);

const seconds = (ms: number) => (ms / 1000).toFixed(5).replace(/\.?0+$/, '');

const durationOf = ({ durationMs, parts }: PlaylistSegment) =>
  durationMs ?? parts.reduce((sum, part) => sum + part.durationMs, 0);
