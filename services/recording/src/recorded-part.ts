import { AsyncLocalStorage } from 'node:async_hooks';
import { randomUUID } from 'node:crypto';
import { EndReason, ErrorCode, isWeirError, MediaKind, type StreamInfo, type TappedTrack } from '@weir/contracts';
import { codecNamed } from '@weir/frames';
import type { Ended, MediaClient, MediumKind, Tap } from '@weir/media-client';
import type { Logger } from '@weir/platform';
import { containerFor, Recorder, type RecordedTrack, type RecordingFacts } from '@weir/recorder';
import { bounded, Rounds, WorkStopped } from './bounded-work.js';
import { PacketMemory } from './packet-memory.js';
import type { Absence } from './recording-machine.js';
import type { Container, PartFile } from './recording-folder.js';

/** How often packets are read, and bytes written. A killed process loses no more than this, plus the time of one write. */
const FLUSH_MS = 500;
/** Packets are read earlier if there are so many bytes of them. */
const MAX_UNREAD_BYTES = 4 * 1024 * 1024;
const KEY_FRAME_REQUEST_MS = 1_000;
/** How long streams of one client may all be away while the client changes what it sends. */
const RENEWAL_MS = 1_000;
const UNWRITTEN = 'it could not be written';
const UNREADABLE = 'its media could not be read';

export interface PartPorts {
  readonly media: Pick<MediaClient, 'find' | 'tap'>;
  readonly log: Logger;
  readonly rtpAddress: string;
  readonly keyFrameIntervalMs: number;
  readonly addPart: () => Promise<PartFile>;
}

export interface PartRequest {
  readonly tenant: string;
  /** The streams that go into one file. They may come and go, but at least one must be there. */
  readonly streamNames: readonly string[];
  /** The streams that are there now; given if they were just found. */
  readonly streams?: readonly StreamInfo[] | undefined;
  /** The container that was asked for, or that of the parts before this one. */
  readonly container: string | undefined;
}

export interface PartListener {
  onLost(reason: string, absence: Absence): void;
  onBroken(reason: string): void;
  /** Reading the media didn't end. */
  onStuck(reason: string): void;
  /** Called when there are new bytes in the file. */
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

/** A track of the file. A medium of the same stream that comes back goes on with its track. */
interface PlannedTrack extends RecordedTrack {
  readonly streamName: string;
}

interface Plan {
  readonly container: Container;
  /** Whether the tracks are in the form that WebRTC players get instead of the form that the source sends. */
  readonly forWebrtc: boolean;
  readonly tracks: readonly PlannedTrack[];
  /** The streams' media that aren't recorded, each with its reason. */
  readonly notCarried: readonly string[];
}

interface TappedStream {
  readonly streamName: string;
  readonly tap: Tap;
  readonly tracks: readonly PlannedTrack[];
}

interface Source {
  readonly streamName: string;
  readonly tap: Tap;
  /** The index of each of its media among the file's tracks. */
  readonly places: ReadonlyMap<MediumKind, number>;
}

const rounds = new Rounds(FLUSH_MS);

interface ArrivedPacket {
  /** The index of its track. */
  readonly place: number;
  readonly packet: Buffer;
  readonly arrivalMs: number;
}

/** The wall clock at the start of the process, continued by a clock that never steps. */
const nowMs = (): number => performance.timeOrigin + performance.now();

/**
 * Records streams into one part until all of them have ended or the part is closed. Streams that begin later get tracks
 * of their own in the same file. An error or an endless loop in what reads the media ends this part alone.
 */
export class RecordedPart {
  readonly container: Container;
  readonly #sources = new Set<Source>();
  readonly #tracks: PlannedTrack[];
  readonly #notCarried: Set<string>;
  #leaveRounds: () => void = () => undefined;
  #lostTimer: NodeJS.Timeout | undefined;
  #attachTimer: NodeJS.Timeout | undefined;
  #attaching: Promise<void> = Promise.resolve();
  #writing: Promise<void> = Promise.resolve();
  #isWriting = false;
  #isClosed = false;
  #isBroken = false;
  #keyFrameAskedMs = -Infinity;
  #firstWrittenAt: Date | undefined;
  #unwritten: readonly Uint8Array[] | undefined;
  /** Packets of the time since the last flush. */
  #unread: ArrivedPacket[] = [];
  readonly #memory = new PacketMemory();
  #unreadBytes = 0;

  private constructor(
    private readonly ports: PartPorts,
    private readonly request: PartRequest,
    private readonly plan: Plan,
    private readonly recorder: Recorder,
    private readonly file: PartFile,
    private readonly listener: PartListener,
  ) {
    this.container = plan.container;
    this.#tracks = [...plan.tracks];
    this.#notCarried = new Set(plan.notCarried);
  }

  /** Throws PartRefused, and errors of the disk. */
  static async open(ports: PartPorts, request: PartRequest, listener: PartListener): Promise<RecordedPart> {
    const streams = request.streams ?? (await found(ports, request));
    const { taps, plan } = await tapped(ports, streams, request.container);
    try {
      const { container, tracks } = plan;
      const recorder = new Recorder({ container, tracks, keyFrameIntervalMs: ports.keyFrameIntervalMs });
      const part = new RecordedPart(ports, request, plan, recorder, await ports.addPart(), listener);
      part.#start(taps);
      return part;
    } catch (error) {
      closeAll(taps);
      throw error;
    }
  }

  /** The tracks in the order of the file. */
  get tracks(): readonly { readonly kind: MediumKind; readonly codec: string }[] {
    return this.#tracks;
  }

  get notCarried(): readonly string[] {
    return [...this.#notCarried];
  }

  get facts(): RecordingFacts {
    return this.recorder.facts;
  }

  get sizeBytes(): number {
    return this.file.sizeBytes;
  }

  /** The age of the oldest media that a power failure would destroy. */
  get atRiskMs(): number {
    return this.file.atRiskMs;
  }

  get firstWrittenAt(): Date | undefined {
    return this.#firstWrittenAt;
  }

  /** Writes what is left. Idempotent. Rejects if that fails. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#leaveRounds();
    clearTimeout(this.#lostTimer);
    clearTimeout(this.#attachTimer);
    closeAll(this.#sources);
    await this.#writing;
    try {
      if (!this.#isBroken) await this.#write(bounded(() => this.#end()));
    } finally {
      await this.file.close();
    }
  }

  /** Adds to the file the streams that have begun since. Never rejects. */
  attach(): Promise<void> {
    this.#attaching = this.#attaching.then(async () => {
      const present = new Set([...this.#sources].map(({ streamName }) => streamName));
      const missing = this.request.streamNames.filter((streamName) => !present.has(streamName));
      for (const streamName of missing) if (!this.#isClosed) await this.#attach(streamName);
    });
    return this.#attaching;
  }

  async #attach(streamName: string): Promise<void> {
    try {
      const stream = await this.ports.media.find({ tenant: this.request.tenant, streamName });
      if (stream !== undefined) this.#add(await open(this.ports, stream, this.plan.forWebrtc), stream.notCarried);
    } catch (error) {
      this.ports.log.debug({ err: error, streamName }, 'a further stream can’t be recorded yet');
      if (error instanceof PartRefused && error.absence === 'is-over') {
        this.#notCarried.add(error.message);
        return;
      }
      clearTimeout(this.#attachTimer);
      if (!this.#isClosed) this.#attachTimer = setTimeout(() => void this.attach(), RENEWAL_MS);
    }
  }

  #start(taps: readonly TappedStream[]): void {
    for (const tappedStream of taps) this.#listen(tappedStream);
    this.#leaveRounds = rounds.add({
      work: () => this.#flush(),
      // The spans of what follows belong to the recording, not to the rounds.
      worked: AsyncLocalStorage.bind(() => this.#writeFlushed()),
      failed: AsyncLocalStorage.bind((error: unknown) => this.#break(UNREADABLE, error)),
    });
  }

  #add(stream: TappedStream, notCarried: readonly string[]): void {
    for (const reason of notCarried) this.#notCarried.add(reason);
    if (!this.#isClosed && !this.#isBroken)
      this.#carefully(() => {
        for (const track of stream.tracks) this.#makeRoom(track);
      });
    this.#listen(stream);
  }

  #makeRoom(track: PlannedTrack): void {
    if (this.#placeOf(track) !== -1) return;
    const fit = containerFor([...this.#tracks, track], this.container);
    if (fit.tag === 'unfit') {
      this.#notCarried.add(fit.reason);
      return;
    }
    this.recorder.addTrack(track);
    this.#tracks.push(track);
  }

  #placeOf({ streamName, kind, codec, payloadType }: PlannedTrack): number {
    return this.#tracks.findIndex(
      (known) =>
        known.streamName === streamName &&
        known.kind === kind &&
        known.codec === codec &&
        known.payloadType === payloadType,
    );
  }

  #listen({ streamName, tap, tracks }: TappedStream): void {
    const placed = tracks
      .map((track) => [track.kind, this.#placeOf(track)] as const)
      .filter(([, place]) => place !== -1);
    if (this.#isClosed || placed.length === 0) {
      void tap.close();
      return;
    }
    const source: Source = { streamName, tap, places: new Map(placed) };
    this.#sources.add(source);
    clearTimeout(this.#lostTimer);
    tap.listen((kind, packet) => {
      const place = source.places.get(kind);
      if (place === undefined || this.#isClosed || this.#isBroken || packet.length < 12) return;
      this.#unread.push({ place, packet: this.#memory.copied(packet), arrivalMs: nowMs() });
      this.#unreadBytes += packet.length;
      if (this.#unreadBytes > MAX_UNREAD_BYTES) this.#carefully(() => bounded(() => this.#read()));
    });
    tap.requestKeyFrame();
    void tap.ended.then((ending) => {
      this.#sources.delete(source);
      if (!this.#isClosed && ending.tag === 'ended') this.#lost(ending);
    });
  }

  /** A client that changes what it sends may end all its streams for a moment. */
  #lost({ reason }: Ended): void {
    const isRenewable = this.request.streamNames.length > 1;
    // The stream may have begun anew before the news of its end came.
    if (isRenewable) void this.attach();
    if (this.#sources.size > 0) return;
    if (!isRenewable || reason !== EndReason.CLIENT) return this.listener.onLost(...absenceAfter(reason));
    clearTimeout(this.#lostTimer);
    this.#lostTimer = setTimeout(() => {
      void this.#attaching.then(() => {
        if (!this.#isClosed && this.#sources.size === 0) this.listener.onLost(...absenceAfter(reason));
      });
    }, RENEWAL_MS);
  }

  #read(): void {
    const packets = this.#unread;
    this.#unread = [];
    this.#unreadBytes = 0;
    for (const { place, packet, arrivalMs } of packets) this.recorder.take(place, packet, arrivalMs);
  }

  #end(): Uint8Array[] {
    this.#read();
    return this.recorder.end(nowMs());
  }

  #flush(): void {
    if (this.#isClosed || this.#isBroken) return;
    this.#read();
    // The disk is slow: what comes meanwhile stays in the recorder, which limits it.
    if (!this.#isWriting) this.#unwritten = this.recorder.flush(nowMs());
  }

  #writeFlushed(): void {
    const chunks = this.#unwritten;
    this.#unwritten = undefined;
    if (chunks === undefined || this.#isBroken) return;
    if (nowMs() - this.#keyFrameAskedMs > KEY_FRAME_REQUEST_MS) this.#askForKeyFrames();
    this.#isWriting = true;
    this.#writing = this.#write(chunks).then(
      () => {
        this.#isWriting = false;
      },
      (error: unknown) => {
        this.#isWriting = false;
        this.#break(UNWRITTEN, error);
      },
    );
  }

  #askForKeyFrames(): void {
    for (const { tap, places } of this.#sources) {
      if (![...places.values()].some((place) => this.recorder.wantsKeyFrame(place))) continue;
      this.#keyFrameAskedMs = nowMs();
      tap.requestKeyFrame();
    }
  }

  async #write(chunks: readonly Uint8Array[]): Promise<void> {
    await this.file.append(chunks);
    if (chunks.length === 0) return;
    this.#firstWrittenAt ??= new Date();
    this.listener.onWritten();
  }

  #carefully(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#break(UNREADABLE, error);
    }
  }

  #break(trouble: string, error: unknown): void {
    if (this.#isBroken || this.#isClosed) return;
    this.#isBroken = true;
    this.ports.log.error({ err: error }, 'a part of a recording ends because of an error');
    const reason = isDiskFull(error) ? 'the disk is full' : `${trouble}: ${messageOf(error)}`;
    if (error instanceof WorkStopped) this.listener.onStuck(reason);
    else this.listener.onBroken(reason);
  }
}

export const isDiskFull = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && (error.code === 'ENOSPC' || error.code === 'EDQUOT');

export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

const closeAll = (taps: Iterable<{ readonly tap: Tap }>): void => {
  for (const { tap } of taps) void tap.close();
};

/** The streams that are there now: at least one. */
async function found({ media }: PartPorts, { tenant, streamNames }: PartRequest): Promise<StreamInfo[]> {
  const streams = await Promise.all(streamNames.map((streamName) => media.find({ tenant, streamName }))).catch(
    (error: unknown) => {
      throw new PartRefused("the media core can't be reached", 'may-return', { cause: error });
    },
  );
  const present = streams.filter((stream) => stream !== undefined);
  if (present.length === 0) throw new PartRefused('there is no such stream', 'may-return');
  return present;
}

/** Taps what the source sends if the file can hold it; else what WebRTC players get; else only what fits. */
async function tapped(
  ports: PartPorts,
  streams: readonly StreamInfo[],
  wish: string | undefined,
): Promise<{ taps: readonly TappedStream[]; plan: Plan }> {
  const notCarried = streams.flatMap((stream) => stream.notCarried);
  const original = await openAll(ports, streams, false);
  const whole = wholePlan(tracksOf(original), notCarried, wish);
  if (whole.tag === 'plan') return { taps: original, plan: whole.plan };
  const forWebrtc = await openAll(ports, streams, true).catch((error: unknown) => {
    ports.log.debug({ err: error }, 'a stream can’t be transcoded for its recording');
    return undefined;
  });
  const transcoded = forWebrtc && wholePlan(tracksOf(forWebrtc), notCarried, wish);
  if (forWebrtc !== undefined && transcoded?.tag === 'plan') {
    closeAll(original);
    return { taps: forWebrtc, plan: { ...transcoded.plan, forWebrtc: true } };
  }
  closeAll(forWebrtc ?? []);
  const rest = partialPlan(tracksOf(original), notCarried, wish);
  if (rest !== undefined) return { taps: original, plan: rest };
  closeAll(original);
  throw new PartRefused(whole.reason, 'is-over');
}

const tracksOf = (taps: readonly TappedStream[]): PlannedTrack[] => taps.flatMap(({ tracks }) => tracks);

/** Taps all the streams or none. */
async function openAll(ports: PartPorts, streams: readonly StreamInfo[], forWebrtc: boolean): Promise<TappedStream[]> {
  const results = await Promise.allSettled(streams.map((stream) => open(ports, stream, forWebrtc)));
  const opened = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
  const failed = results.find((result) => result.status === 'rejected');
  if (failed === undefined) return opened;
  closeAll(opened);
  const reason: unknown = failed.reason;
  throw reason instanceof PartRefused ? reason : new PartRefused(messageOf(reason), 'may-return', { cause: reason });
}

async function open({ media, rtpAddress }: PartPorts, stream: StreamInfo, forWebrtc: boolean): Promise<TappedStream> {
  const { streamName } = stream;
  const tap = media.tap(stream, { sessionId: `recording-${randomUUID()}`, rtpAddress, fromKeyFrame: true, forWebrtc });
  try {
    const { tracks } = await tap.opened;
    return { streamName, tap, tracks: tracks.flatMap((track) => trackOf(track, streamName)) };
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
  return fit.tag === 'fits'
    ? { tag: 'plan', plan: { container: fit.container, forWebrtc: false, tracks, notCarried } }
    : fit;
}

/** Plans as much as fits into one file: the picture rather than the sound. */
function partialPlan(
  tracks: readonly PlannedTrack[],
  notCarried: readonly string[],
  wish: string | undefined,
): Plan | undefined {
  let plan: Plan | undefined;
  const left: string[] = [];
  for (const track of tracks.toSorted((a, b) => b.kind.localeCompare(a.kind))) {
    const fit = wholePlan([...(plan?.tracks ?? []), track], notCarried, wish);
    if (fit.tag === 'plan') plan = fit.plan;
    else left.push(`${track.codec} fits into no recording`);
  }
  return plan && { ...plan, notCarried: [...notCarried, ...left] };
}

function trackOf({ track, payloadType }: TappedTrack, streamName: string): PlannedTrack[] {
  if (track === undefined || track.kind === MediaKind.UNSPECIFIED) return [];
  const { clockRate, channels } = track;
  const parameters = Object.fromEntries(
    Object.entries(track.parameters).map(([name, value]) => [name.toLowerCase(), value]),
  );
  const kind = track.kind === MediaKind.VIDEO ? 'video' : 'audio';
  const described = { kind, codec: codecNamed(track.codec), clockRate, channels, parameters } as const;
  return [{ ...described, streamName, ...(payloadType > 0 && { payloadType }) }];
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
