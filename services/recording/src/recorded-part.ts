import { randomUUID } from 'node:crypto';
import { EndReason, ErrorCode, isWeirError, MediaKind, type StreamInfo, type TappedTrack } from '@weir/contracts';
import { codecNamed, isRtcp } from '@weir/frames';
import type { Ending, MediaClient, MediumKind, Tap } from '@weir/media-client';
import type { Logger } from '@weir/platform';
import { containerFor, Recorder, type RecordedTrack, type RecordingFacts } from '@weir/recorder';
import type { Absence } from './recording-machine.js';
import type { Container, PartFile } from './recording-folder.js';

/** How often the bytes are written to the disk. A killed process loses no more than this, plus the time of one write. */
const FLUSH_MS = 500;
const KEY_FRAME_REQUEST_MS = 1_000;

export interface PartPorts {
  readonly media: Pick<MediaClient, 'find' | 'tap'>;
  readonly log: Logger;
  readonly rtpAddress: string;
  readonly keyFrameIntervalMs: number;
  readonly addPart: () => Promise<PartFile>;
}

export interface PartRequest {
  readonly tenant: string;
  readonly streamName: string;
  /** The container that was asked for, or that the parts before this one have. */
  readonly container: string | undefined;
}

export interface PartListener {
  onLost(reason: string, absence: Absence): void;
  onBroken(reason: string): void;
  /** New bytes are on the disk. */
  onWritten(): void;
}

/** Why a stream can't be recorded. */
export class PartRefused extends Error {
  override readonly name = 'PartRefused';

  constructor(
    message: string,
    readonly absence: Absence,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

interface PlannedTrack extends RecordedTrack {
  readonly ssrc: number;
}

interface Plan {
  readonly container: Container;
  readonly tracks: readonly PlannedTrack[];
  /** The stream's media that aren't recorded, each with its reason. */
  readonly notCarried: readonly string[];
}

/** The wall clock of the beginning, continued by a clock that never steps. */
const nowMs = (): number => performance.timeOrigin + performance.now();

/**
 * Records a stream into one part until the stream ends or the part is closed. An error in the media, or in what reads
 * them, ends this part alone.
 */
export class RecordedPart {
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> = Promise.resolve();
  #isWriting = false;
  #isClosed = false;
  #isBroken = false;
  #keyFrameAskedMs = -Infinity;
  #firstWrittenAt: Date | undefined;

  private constructor(
    private readonly ports: PartPorts,
    private readonly tap: Tap,
    readonly plan: Plan,
    private readonly recorder: Recorder,
    private readonly file: PartFile,
    private readonly listener: PartListener,
  ) {}

  /** Throws PartRefused, and what the disk throws. */
  static async open(ports: PartPorts, request: PartRequest, listener: PartListener): Promise<RecordedPart> {
    const stream = await found(ports, request);
    const { tap, plan } = await tapped(ports, stream, request.container);
    try {
      const { container, tracks } = plan;
      const recorder = new Recorder({ container, tracks, keyFrameIntervalMs: ports.keyFrameIntervalMs });
      const part = new RecordedPart(ports, tap, plan, recorder, await ports.addPart(), listener);
      part.#start();
      return part;
    } catch (error) {
      void tap.close();
      throw error;
    }
  }

  get facts(): RecordingFacts {
    return this.recorder.facts;
  }

  get sizeBytes(): number {
    return this.file.sizeBytes;
  }

  get firstWrittenAt(): Date | undefined {
    return this.#firstWrittenAt;
  }

  /** Writes what is left. Idempotent. Rejects if that fails. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearInterval(this.#timer);
    void this.tap.close();
    await this.#writing;
    try {
      if (!this.#isBroken) await this.#write(this.recorder.end(nowMs()));
    } finally {
      await this.file.close();
    }
  }

  #start(): void {
    const { tracks } = this.plan;
    const indexOf = (kind: MediumKind, ssrc: number): number => {
      const exact = tracks.findIndex((track) => track.kind === kind && track.ssrc === ssrc);
      return exact === -1 ? tracks.findIndex((track) => track.kind === kind) : exact;
    };
    const several = tracks.filter(({ kind }) => kind === 'video').length > 1;
    this.tap.listen((kind, packet) => {
      if (this.#isClosed || this.#isBroken || packet.length < 12) return;
      this.#carefully(() => {
        const ssrc = packet.readUInt32BE(isRtcp(packet) ? 4 : 8);
        if (several && kind === 'video' && !tracks.some((track) => track.ssrc === ssrc)) return;
        const index = indexOf(kind, ssrc);
        if (index !== -1) this.recorder.take(index, packet, nowMs());
      });
    });
    this.#timer = setInterval(() => this.#flush(), FLUSH_MS);
    this.tap.requestKeyFrame();
    void this.tap.ended.then((ending) => {
      if (!this.#isClosed) this.#lost(ending);
    });
  }

  #lost(ending: Ending): void {
    if (ending.tag !== 'ended') return;
    this.listener.onLost(...absenceAfter(ending.reason));
  }

  #flush(): void {
    // A slow disk: what comes meanwhile stays in the recorder, which limits it.
    if (this.#isWriting || this.#isClosed || this.#isBroken) return;
    this.#carefully(() => {
      const chunks = this.recorder.flush(nowMs());
      if (this.recorder.wantsKeyFrame && nowMs() - this.#keyFrameAskedMs > KEY_FRAME_REQUEST_MS) {
        this.#keyFrameAskedMs = nowMs();
        this.tap.requestKeyFrame();
      }
      this.#isWriting = true;
      this.#writing = this.#write(chunks).then(
        () => {
          this.#isWriting = false;
        },
        (error: unknown) => {
          this.#isWriting = false;
          this.#break(error);
        },
      );
    });
  }

  async #write(chunks: readonly Uint8Array[]): Promise<void> {
    if (chunks.length === 0) return;
    await this.file.append(chunks);
    this.#firstWrittenAt ??= new Date();
    this.listener.onWritten();
  }

  #carefully(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#break(error);
    }
  }

  #break(error: unknown): void {
    if (this.#isBroken || this.#isClosed) return;
    this.#isBroken = true;
    this.ports.log.error({ err: error }, 'a recording ends because of an error');
    this.listener.onBroken(isDiskFull(error) ? 'the disk is full' : `it could not be written: ${messageOf(error)}`);
  }
}

export const isDiskFull = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && (error.code === 'ENOSPC' || error.code === 'EDQUOT');

export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

async function found({ media }: PartPorts, { tenant, streamName }: PartRequest): Promise<StreamInfo> {
  const stream = await media.find({ tenant, streamName }).catch((error: unknown) => {
    throw new PartRefused('the media core can’t be asked', 'may-return', { cause: error });
  });
  if (stream === undefined) throw new PartRefused('there is no such stream', 'may-return');
  return stream;
}

/** As the source sends it if the file can hold that; else as WebRTC players get it; else without what doesn't fit. */
async function tapped(
  ports: PartPorts,
  stream: StreamInfo,
  wish: string | undefined,
): Promise<{ tap: Tap; plan: Plan }> {
  const original = await open(ports, stream, false);
  const whole = wholePlan(original.tracks, stream.notCarried, wish);
  if (whole.tag === 'plan') return { tap: original.tap, plan: whole.plan };
  const forWebrtc = await open(ports, stream, true).catch((error: unknown) => {
    ports.log.debug({ err: error }, 'a stream can’t be transcoded for its recording');
    return undefined;
  });
  const transcoded = forWebrtc && wholePlan(forWebrtc.tracks, stream.notCarried, wish);
  if (forWebrtc !== undefined && transcoded?.tag === 'plan') {
    void original.tap.close();
    return { tap: forWebrtc.tap, plan: transcoded.plan };
  }
  void forWebrtc?.tap.close();
  const rest = partialPlan(original.tracks, stream.notCarried, wish);
  if (rest !== undefined) return { tap: original.tap, plan: rest };
  void original.tap.close();
  throw new PartRefused(whole.reason, 'is-over');
}

async function open(
  { media, rtpAddress }: PartPorts,
  stream: StreamInfo,
  forWebrtc: boolean,
): Promise<{ tap: Tap; tracks: readonly PlannedTrack[] }> {
  const tap = media.tap(stream, { sessionId: `recording-${randomUUID()}`, rtpAddress, fromKeyFrame: true, forWebrtc });
  try {
    const { tracks } = await tap.opened;
    return { tap, tracks: tracks.flatMap(trackOf) };
  } catch (error) {
    void tap.close();
    throw new PartRefused(messageOf(error), isFinal(error) ? 'is-over' : 'may-return', { cause: error });
  }
}

const isFinal = (error: unknown): boolean =>
  isWeirError(error) && (error.code === ErrorCode.NO_COMMON_CODECS || error.code === ErrorCode.INVALID);

type Whole = { readonly tag: 'plan'; readonly plan: Plan } | { readonly tag: 'unfit'; readonly reason: string };

function wholePlan(tracks: readonly PlannedTrack[], notCarried: readonly string[], wish: string | undefined): Whole {
  const fit = containerFor(tracks, wish);
  return fit.tag === 'fits' ? { tag: 'plan', plan: { container: fit.container, tracks, notCarried } } : fit;
}

/** The picture without the sound, or the sound without the picture. */
function partialPlan(
  tracks: readonly PlannedTrack[],
  notCarried: readonly string[],
  wish: string | undefined,
): Plan | undefined {
  for (const kind of ['video', 'audio'] as const) {
    const some = tracks.filter((track) => track.kind === kind);
    const fit = containerFor(some, wish);
    if (fit.tag === 'unfit') continue;
    const left = tracks.filter((track) => track.kind !== kind).map(({ codec }) => `${codec} fits into no recording`);
    return { container: fit.container, tracks: some, notCarried: [...notCarried, ...left] };
  }
  return undefined;
}

function trackOf({ track, payloadType, ssrc }: TappedTrack): PlannedTrack[] {
  if (track === undefined || track.kind === MediaKind.UNSPECIFIED) return [];
  const { clockRate, channels } = track;
  const parameters = Object.fromEntries(
    Object.entries(track.parameters).map(([name, value]) => [name.toLowerCase(), value]),
  );
  const kind = track.kind === MediaKind.VIDEO ? 'video' : 'audio';
  const described = { kind, codec: codecNamed(track.codec), clockRate, channels, parameters } as const;
  return [{ ...described, ssrc, ...(payloadType > 0 && { payloadType }) }];
}

function absenceAfter(reason: EndReason): [string, Absence] {
  switch (reason) {
    case EndReason.STREAM_ENDED:
    case EndReason.CLIENT:
    case EndReason.TERMINATED:
      return ['the stream ended', 'is-over'];
    case EndReason.REPLACED:
      return ['the stream was published anew', 'may-return'];
    default:
      return ['the media node was lost', 'may-return'];
  }
}
