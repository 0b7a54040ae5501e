import { randomBytes, randomUUID } from 'node:crypto';
import { ErrorCode, WeirError, type StreamInfo } from '@weir/contracts';
import type { Leases } from '@weir/leases';
import type { MediaClient } from '@weir/media-client';
import type { Logger } from '@weir/platform';
import { within } from '@weir/timing';
import { LiveRecording, type LiveRecordingPorts } from './live-recording.js';
import type { RecordingMetrics } from './metrics.js';
import type { PartRefused } from './recorded-part.js';
import type { RecordingFolder } from './recording-folder.js';
import type { RecordingSettings } from './recording-machine.js';
import { RecordingsDisk, type DiskSettings } from './recordings-disk.js';
import { recordedStreams } from './session-names.js';
import type { EndHook, NewRecording, RecordingRow, RecordingStore } from './store.js';
import { inStep } from './tracing.js';
import { Turns } from './turns.js';

/** What is to be recorded, and what becomes of it. */
export interface StartRequest {
  /** A UUID, by default a new one. */
  readonly id?: string | undefined;
  readonly tenant: string;
  readonly streamName: string;
  /** For people. */
  readonly name?: string | undefined;
  /** webm or mp4; by default the one that the stream's codecs fit into. */
  readonly container?: 'webm' | 'mp4' | undefined;
  readonly destination?: NewRecording['destination'];
  readonly webhookUrl?: string | undefined;
  readonly labels?: Readonly<Record<string, string>> | undefined;
  readonly splitMs?: number | undefined;
  readonly splitBytes?: number | undefined;
  /** At most one of the tenant's running recordings has it. */
  readonly claim?: string | undefined;
}

/**
 * What happens to a recording, in order: `started` when its stream is tapped, `stopped` when nothing more is recorded, then
 * `finished` when its file is complete, or `failed`.
 */
export type RecordingEvent = 'started' | 'stopped' | 'finished' | 'failed';
export type RecordingListener = (event: RecordingEvent, recording: RecordingRow) => void;

export interface RecordingsPorts {
  readonly store: RecordingStore;
  /** The leases of the recordings, named by the recordings' ids. */
  readonly leases: Pick<Leases, 'take' | 'claim' | 'renew' | 'release' | 'findAll'>;
  readonly media: Pick<MediaClient, 'find' | 'tap'>;
  readonly metrics: RecordingMetrics;
  readonly instanceId: string;
  readonly log: Logger;
}

export interface RecordingsSettings extends DiskSettings {
  readonly rtpAddress: string;
  readonly recording: RecordingSettings;
  readonly keyFrameIntervalMs: number;
  readonly leaseMs: number;
  readonly maxRecordings: number;
}

const CHECKS_PER_LEASE = 4;
const MAX_FINISHING = 2;
const START_TIMEOUT_MS = 8_000;

/**
 * All recordings of this instance: those that were asked for here, and those that other instances have left behind in
 * folders that this one sees.
 */
export class Recordings {
  readonly #live = new Map<string, LiveRecording>();
  /** Recordings that are being written to the database. Otherwise a check would treat them as left behind. */
  readonly #beginning = new Set<string>();
  /** Recordings that didn't begin because the database didn't answer when they were stored. It may have stored them. */
  readonly #stillborn = new Set<string>();
  /** Recordings whose next file has begun. */
  readonly #splitting = new Set<string>();
  /** Recordings without a lease, and since when. Their owners get time to renew it. */
  readonly #unowned = new Map<string, number>();
  readonly #listeners = new Set<RecordingListener>();
  readonly #endHooks: EndHook[] = [];
  readonly #turns = new Turns(MAX_FINISHING);
  readonly #livePorts: LiveRecordingPorts;
  readonly #disk: RecordingsDisk;
  #check: Promise<void> = Promise.resolve();
  #timer: NodeJS.Timeout | undefined;
  #isClosing = false;
  #isTroubled = false;

  constructor(
    private readonly ports: RecordingsPorts,
    private readonly settings: RecordingsSettings,
  ) {
    this.#disk = new RecordingsDisk(
      { store: ports.store, isInUse: (id) => this.#live.has(id) || this.#beginning.has(id) },
      settings,
    );
    this.#livePorts = {
      ...{ media: ports.media, store: ports.store, log: ports.log, settings: settings.recording },
      ...{ rtpAddress: settings.rtpAddress, keyFrameIntervalMs: settings.keyFrameIntervalMs },
      endHooks: () => this.#endHooks,
      inTurn: (work) => this.#turns.run(work),
      splitOff: (row, part, reason) => this.#splitOff(row, part, reason),
      changed: (recording) => this.#changed(recording),
      written: (recording) => this.#written(recording),
    };
    ports.metrics.observe(() => [...this.#live.values()]);
  }

  start(): void {
    this.#scheduleCheck(0);
  }

  /** The listener hears only of this instance's recordings. @returns a function that stops listening */
  onEvent(listener: RecordingListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Adds a hook that stores what follows from the end of a recording, in the same transaction. */
  addEndHook(hook: EndHook): void {
    this.#endHooks.push(hook);
  }

  /**
   * Resolves when the stream is being recorded, or will be as soon as it is there. Throws NOT_FOUND if there is no such
   * stream, NO_COMMON_CODECS if no file can hold it, EXHAUSTED if there is no room for it, ALREADY_EXISTS if a running
   * recording has the claim, and UNAVAILABLE.
   */
  async record(request: StartRequest): Promise<RecordingRow> {
    const { tenant, streamName } = request;
    await this.#demandRoom();
    const names = recordedStreams(streamName);
    const found = await Promise.all(names.map((name) => this.ports.media.find({ tenant, streamName: name })));
    const streams = found.filter((stream) => stream !== undefined);
    if (streams.length === 0) throw new WeirError(ErrorCode.NOT_FOUND, 'There is no such stream', { streamName });
    const { recording, refusal } = await this.#begin(request, { streams });
    if (refusal?.absence === 'is-over') throw new WeirError(ErrorCode.NO_COMMON_CODECS, refusal.message);
    return recording.row;
  }

  /** Ends the recording and all files that it is split into, whichever instance works on it. Its file follows later. */
  async stop(id: string, reason = 'stopped'): Promise<void> {
    const own = [...this.#live.values()].filter(({ row }) => row.id === id || row.splitOf === id);
    for (const recording of own) recording.stop(reason);
    try {
      await this.ports.store.unwant(id);
    } catch (error) {
      // This instance has stopped it already; the database need not know that it was asked to.
      if (own.length === 0) throw error;
    }
  }

  streamStarted({ tenant, streamName }: Pick<StreamInfo, 'tenant' | 'streamName'>): void {
    for (const recording of this.#live.values())
      if (recording.row.tenant === tenant && recordedStreams(recording.row.streamName).includes(streamName))
        recording.streamBegan();
  }

  /** How far a recording of this instance has come; undefined for any other. */
  progressOf(id: string): { readonly durationMs: number; readonly sizeBytes: number } | undefined {
    const live = this.#live.get(id);
    return live && { durationMs: Math.round(live.durationMs), sizeBytes: live.sizeBytes };
  }

  folderOf(id: string): RecordingFolder {
    return this.#disk.folderOf(id);
  }

  /** Deletes the file of a recording that has ended; the row stays, marked as deleted. */
  async deleteFile(id: string): Promise<void> {
    await this.#disk.deleteFile(id, 'user');
  }

  /** Releases every recording in order, so that another instance can go on with it. */
  async close(): Promise<void> {
    this.#isClosing = true;
    clearTimeout(this.#timer);
    await this.#check;
    await Promise.all([...this.#live.values()].map((recording) => recording.release()));
    this.#live.clear();
  }

  /** `streams`: given if they were just found. `previous`: the file before this one, if the recording is split. */
  async #begin(
    request: StartRequest,
    { streams, previous }: { readonly streams?: readonly StreamInfo[]; readonly previous?: RecordingRow },
  ): Promise<{ recording: LiveRecording; refusal: PartRefused | undefined }> {
    const { store, leases, instanceId } = this.ports;
    const { id = randomUUID(), claim } = request;
    const folder = this.folderOf(id);
    let epoch: bigint | undefined;
    await inStep('folder', () => folder.create());
    this.#beginning.add(id);
    this.#stillborn.delete(id);
    try {
      epoch = await leases.take(id).catch((cause: unknown) => {
        throw new WeirError(ErrorCode.UNAVAILABLE, "Redis can't be reached now; try again later", {}, { cause });
      });
      const row = await store.add(
        {
          ...{
            id,
            tenant: request.tenant,
            streamName: request.streamName,
            urlKey: randomBytes(32).toString('base64url'),
          },
          ...{ name: request.name ?? '', container: request.container ?? null, webhookUrl: request.webhookUrl ?? null },
          splitMs: request.splitMs ?? null,
          splitBytes: request.splitBytes === undefined ? null : BigInt(request.splitBytes),
          ...(previous && { splitOf: previous.splitOf ?? previous.id, splitIndex: previous.splitIndex + 1 }),
          ...{ destination: request.destination, labels: request.labels, claim: claim ?? null },
        },
        { owner: instanceId, epoch },
        previous,
      );
      if (row === undefined)
        throw new WeirError(
          ErrorCode.ALREADY_EXISTS,
          'A recording with this key already runs: stop it, or use another key',
          { key: claim ?? '' },
        );
      const recording = this.#keep(row, folder);
      const start = recording.record({ parts: 0, bytes: 0 }, streams);
      const refusal = await within(START_TIMEOUT_MS, start, () => undefined);
      return { recording, refusal };
    } catch (error) {
      this.#stillborn.add(id);
      await folder.remove();
      const taken = epoch;
      if (taken !== undefined)
        await this.#quietly('a recording could not be let go of', () => leases.release(id, taken));
      throw error;
    } finally {
      this.#beginning.delete(id);
    }
  }

  #keep(row: RecordingRow, folder: RecordingFolder): LiveRecording {
    const recording = new LiveRecording(this.#livePorts, row, folder);
    this.#live.set(row.id, recording);
    void recording.isOver.then(async () => {
      await recording.save();
      this.#live.delete(row.id);
      this.#splitting.delete(row.id);
      await this.#quietly('a recording could not be let go of', () => this.ports.leases.release(row.id, row.epoch));
    });
    return recording;
  }

  #changed(recording: LiveRecording): void {
    const { state, row } = recording;
    this.ports.metrics.changed(state.tag);
    switch (state.tag) {
      case 'recording':
        return this.#tell('started', row);
      case 'finishing':
        return this.#tell('stopped', { ...row, reason: state.reason });
      case 'finished':
        return this.#tell('finished', row);
      case 'failed':
        return this.#tell('failed', { ...row, reason: state.reason });
      default:
        return;
    }
  }

  #tell(event: RecordingEvent, row: RecordingRow): void {
    for (const listener of this.#listeners) {
      try {
        listener(event, row);
      } catch (error) {
        this.ports.log.error({ err: error, recordingId: row.id, event }, 'an event of a recording was not handled');
      }
    }
  }

  #written(recording: LiveRecording): void {
    const { row, durationMs, sizeBytes } = recording;
    const isLong = row.splitMs !== null && durationMs >= row.splitMs;
    const isLarge = row.splitBytes !== null && sizeBytes >= Number(row.splitBytes);
    if ((!isLong && !isLarge) || this.#splitting.has(row.id) || this.#isClosing) return;
    this.#splitting.add(row.id);
    void this.#quietly('a recording could not be split', async () => {
      // The next file begins before this one ends: a moment should be in both rather than in neither.
      const { recording: next, refusal } = await this.#begin(requestOf(row), { previous: row });
      if (refusal === undefined) recording.stop('split');
      const first = await this.ports.store.find(row.splitOf ?? row.id);
      if (first?.wanted === false) next.stop('stopped');
    });
  }

  async #splitOff(row: RecordingRow, part: number, reason: string): Promise<void> {
    const root = row.splitOf ?? row.id;
    const id = `${row.id}-${part}`;
    this.#beginning.add(id);
    try {
      const { tenant, streamName, name, webhookUrl, urlKey } = row;
      await this.ports.store.addSplit(
        {
          ...{ id, tenant, streamName, name, webhookUrl, urlKey, splitOf: root, splitIndex: row.splitIndex + 1 },
          ...wishesOf(row),
        },
        reason,
      );
      await this.folderOf(row.id).moveParts(part, this.folderOf(id));
    } finally {
      this.#beginning.delete(id);
    }
  }

  async #demandRoom(): Promise<void> {
    if (this.#isClosing || this.#live.size >= this.settings.maxRecordings)
      throw new WeirError(
        ErrorCode.EXHAUSTED,
        `This server already runs ${this.settings.maxRecordings} recordings, or is closing; try again later`,
      );
    await this.#disk.demandRoom();
  }

  #scheduleCheck(delayMs: number): void {
    if (this.#isClosing) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#check = this.#check.then(async () => {
        await this.#quietly('the disk could not be looked at', () => this.#keepRoom());
        const isWell = await this.#quietly('recordings could not be looked after', () => this.#lookAfter());
        if (isWell && this.#isTroubled) this.ports.log.info('recordings are looked after again');
        this.#isTroubled = !isWell;
        this.#scheduleCheck(this.settings.leaseMs / CHECKS_PER_LEASE);
      });
    }, delayMs);
  }

  /** When the disk is nearly full, the largest recording ends; its parts then make room for the others. */
  async #keepRoom(): Promise<void> {
    const recorded = [...this.#live.values()].filter(({ state }) => state.tag === 'recording');
    const largest = recorded.sort((a, b) => b.sizeBytes - a.sizeBytes)[0];
    if (largest === undefined || (await this.#disk.canFinish(largest.sizeBytes))) return;
    this.ports.log.warn({ recordingId: largest.id }, 'the largest recording ends: the disk is nearly full');
    largest.stop('the disk is full');
  }

  async #lookAfter(): Promise<void> {
    const { store, leases, log } = this.ports;
    const leased = [...this.#live.values()];
    const kept = await leases.renew(leased.map(({ id, epoch }) => ({ name: id, epoch })));
    for (const [index, recording] of leased.entries()) {
      if (kept[index] === true) continue;
      log.warn({ recordingId: recording.id }, 'another instance has taken a recording over');
      await recording.release();
    }
    await Promise.all([...this.#live.values()].map((recording) => recording.save()));
    for (const id of this.#stillborn) {
      if (!this.#beginning.has(id)) await store.remove(id);
      this.#stillborn.delete(id);
    }
    const rows = await store.unfinished();
    const unowned = await this.#unownedOf(rows);
    for (const row of rows) {
      if (this.#isClosing) return;
      if (!row.wanted) this.#live.get(row.id)?.stop('stopped');
      if (unowned.has(row.id)) await this.#takeOver(row);
    }
    await this.#disk.cleanUp();
  }

  /** The recordings that nobody has owned for long enough, without those of this instance. */
  async #unownedOf(rows: readonly RecordingRow[]): Promise<ReadonlySet<string>> {
    const others = rows.filter(({ id }) => !this.#live.has(id) && !this.#beginning.has(id)).map(({ id }) => id);
    const leases = await this.ports.leases.findAll(others);
    const nowMs = performance.now();
    const free = others.filter((_, index) => leases[index] === undefined);
    for (const id of [...this.#unowned.keys()]) if (!free.includes(id)) this.#unowned.delete(id);
    for (const id of free) if (!this.#unowned.has(id)) this.#unowned.set(id, nowMs);
    return new Set(free.filter((id) => nowMs - (this.#unowned.get(id) ?? nowMs) >= this.settings.leaseMs / 2));
  }

  async #takeOver(seen: RecordingRow): Promise<void> {
    const { store, leases, instanceId, log } = this.ports;
    const folder = this.folderOf(seen.id);
    // Its folder is on a disk of another instance.
    if (!(await folder.exists())) return;
    const claim = await leases.claim(seen.id);
    if (claim.tag === 'held') return;
    const row = await store.take(seen, { owner: instanceId, epoch: claim.epoch });
    if (row === undefined) {
      await leases.release(seen.id, claim.epoch);
      return;
    }
    log.info({ recordingId: row.id, state: row.state, from: seen.owner }, 'a recording is taken over');
    this.#unowned.delete(row.id);
    const before = { parts: (await folder.parts()).length, bytes: await folder.partBytes() };
    const next = await store.nextFileOf(row);
    const recording = this.#keep(row, folder);
    if (row.state === 'FINISHING' || !row.wanted) recording.finish(row.reason || 'stopped', before);
    else if (next !== undefined) recording.finish('split', before);
    else void recording.record(before);
  }

  /** @returns whether `work` succeeded */
  async #quietly(message: string, work: () => Promise<unknown>): Promise<boolean> {
    try {
      await work();
      return true;
    } catch (err) {
      if (!this.#isTroubled) this.ports.log.warn({ err }, message);
      this.#isTroubled = true;
      return false;
    }
  }
}

const wishesOf = (row: RecordingRow): Pick<NewRecording, 'destination' | 'labels'> => ({
  ...(row.destination !== null && { destination: row.destination }),
  labels: labelsOf(row),
});

/** The request for the next file of a recording that is split. */
const requestOf = (row: RecordingRow): StartRequest => ({
  ...{ tenant: row.tenant, streamName: row.streamName, name: row.name, webhookUrl: row.webhookUrl ?? undefined },
  container: row.container === 'webm' || row.container === 'mp4' ? row.container : undefined,
  splitMs: row.splitMs ?? undefined,
  splitBytes: row.splitBytes === null ? undefined : Number(row.splitBytes),
  destination: row.destination ?? undefined,
  labels: labelsOf(row),
  claim: row.claim ?? undefined,
});

/** What its owner has noted about the recording. */
export const labelsOf = ({ labels }: Pick<RecordingRow, 'labels'>): Readonly<Record<string, string>> =>
  typeof labels === 'object' && labels !== null && !Array.isArray(labels)
    ? Object.fromEntries(
        Object.entries(labels).flatMap(([name, value]) => (typeof value === 'string' ? [[name, value]] : [])),
      )
    : {};
