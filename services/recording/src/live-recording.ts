import { setTimeout as sleep } from 'node:timers/promises';
import type { StreamInfo } from '@weir/contracts';
import type { Logger } from '@weir/platform';
import { asWeirError } from '@weir/platform/database';
import type { MediaClient } from '@weir/media-client';
import { backOffMs } from '@weir/timing';
import { z } from 'zod';
import { isDiskFull, messageOf, PartRefused, RecordedPart } from './recorded-part.js';
import type { RecordingFolder, StoredFile } from './recording-folder.js';
import {
  begin,
  beginFinishing,
  nextTickMs,
  step,
  type RecordingEffect,
  type RecordingInput,
  type RecordingSettings,
  type RecordingState,
  type RecordingStep,
} from './recording-machine.js';
import { recordedStreams } from './session-names.js';
import type { EndHook, RecordingChange, RecordingPhase, RecordingRow, RecordingStore } from './store.js';
import { inStep, RecordingSpan } from './tracing.js';

export interface LiveRecordingPorts {
  readonly media: Pick<MediaClient, 'find' | 'tap'>;
  readonly store: Pick<RecordingStore, 'save' | 'end'>;
  readonly log: Logger;
  readonly settings: RecordingSettings;
  readonly rtpAddress: string;
  readonly keyFrameIntervalMs: number;
  readonly endHooks: () => readonly EndHook[];
  /** Runs the work when few enough files are being finished. */
  readonly inTurn: <Result>(work: () => Promise<Result>) => Promise<Result>;
  /** Moves the parts from this one on to a recording of their own. */
  readonly splitOff: (row: RecordingRow, part: number, reason: string) => Promise<void>;
  readonly changed: (recording: LiveRecording) => void;
  /** Called when there are new bytes in its part. */
  readonly written: (recording: LiveRecording) => void;
}

/** Facts about a recording, for people and programs. */
const liveFacts = z.object({
  tracks: z.array(z.object({ kind: z.string(), codec: z.string() })).default([]),
  notCarried: z.array(z.string()).default([]),
  gaps: z.array(z.object({ part: z.number(), track: z.number(), atMs: z.number(), lengthMs: z.number() })).default([]),
  losses: z.number().default(0),
});
export type LiveFacts = z.output<typeof liveFacts>;

/** What instances before this one have written. */
export interface Before {
  readonly parts: number;
  readonly bytes: number;
}

const MAX_GAPS = 200;
const STORE_PACE = { firstMs: 200, maxMs: 5_000 } as const;

/** One recording that this instance works on: carries out the effects of its machine. */
export class LiveRecording {
  readonly folder: RecordingFolder;
  row: RecordingRow;
  /** Resolves when this instance has no more to do for it. */
  readonly isOver: Promise<void>;
  #state: RecordingState;
  #part: RecordedPart | undefined;
  #streams: readonly StreamInfo[] | undefined;
  #timer: NodeJS.Timeout | undefined;
  #made: StoredFile | undefined;
  #unsaved: RecordingChange = {};
  #saving: Promise<void> = Promise.resolve();
  #closedBytes = 0;
  #closedMs = 0;
  /** The number of parts so far, without the one that is being written. */
  #parts = 0;
  /** The facts of the parts so far. */
  #facts: LiveFacts;
  /** How many facts of the part that is being written were known when they were last saved. */
  #savedFacts = 0;
  #firstAnswer: ((refusal: PartRefused | undefined) => void) | undefined;
  #resolveOver: () => void = () => undefined;
  #stoppedAt: Date | undefined;
  #isReleased = false;
  /** Whether a stream has begun since the part was asked for, so that the part may not have seen it. */
  #hasBegun = false;
  #wasStuck = false;
  readonly #span: RecordingSpan;

  constructor(
    private readonly ports: LiveRecordingPorts,
    row: RecordingRow,
    folder: RecordingFolder,
  ) {
    this.row = row;
    this.folder = folder;
    this.#span = new RecordingSpan(row);
    this.#facts = liveFacts.parse(row.facts);
    this.isOver = new Promise((resolve) => {
      this.#resolveOver = resolve;
    });
    this.#state = { tag: 'released' };
  }

  get id(): string {
    return this.row.id;
  }

  get epoch(): bigint {
    return this.row.epoch;
  }

  get state(): RecordingState {
    return this.#state;
  }

  /** The size of all parts that this instance has written. */
  get sizeBytes(): number {
    return this.#closedBytes + (this.#part?.sizeBytes ?? 0);
  }

  /** The age of the oldest media that a power failure would destroy. */
  get atRiskMs(): number {
    return this.#part?.atRiskMs ?? 0;
  }

  get durationMs(): number {
    return this.#closedMs + (this.#part?.facts.durationMs ?? 0);
  }

  /** Resolves when the first attempt to reach the stream has ended. @param streams given if they were just found */
  record(before: Before, streams?: readonly StreamInfo[]): Promise<PartRefused | undefined> {
    this.#closedBytes = before.bytes;
    this.#parts = before.parts;
    this.#streams = streams;
    const answer = new Promise<PartRefused | undefined>((resolve) => {
      this.#firstAnswer = resolve;
    });
    this.#take(begin(this.ports.settings, before.parts > 0, Date.now()));
    return answer;
  }

  finish(reason: string, before: Before): void {
    this.#closedBytes = before.bytes;
    this.#parts = before.parts;
    this.#take(beginFinishing(reason));
  }

  stop(reason: string): void {
    this.#input({ tag: 'stop', reason });
  }

  /** Must be called when one of its streams has begun. */
  streamBegan(): void {
    this.#hasBegun = true;
    void this.#part?.attach();
    this.#input({ tag: 'stream-began' });
  }

  /** Releases it in order: what was recorded is on the disk, and another instance may go on with it. */
  async release(): Promise<void> {
    this.#isReleased = true;
    this.#input({ tag: 'release' });
    await this.isOver;
    await this.#saving;
  }

  /** Writes to the database what it doesn't have yet. Never rejects. */
  save(): Promise<void> {
    this.#saving = this.#saving.then(async () => {
      const change = this.#unsaved;
      if (Object.keys(change).length === 0) return;
      this.#unsaved = {};
      try {
        await this.ports.store.save(this.id, this.epoch, change);
      } catch (error) {
        this.#unsaved = { ...change, ...this.#unsaved };
        this.ports.log.debug({ err: error, recordingId: this.id }, 'the state of a recording could not be saved yet');
      }
    });
    return this.#saving;
  }

  #input(input: RecordingInput): void {
    this.#take(step(this.ports.settings, this.#state, input, Date.now()));
  }

  #take({ state, effects }: RecordingStep): void {
    const before = this.#state;
    this.#state = state;
    this.#span.run(() => {
      for (const effect of effects) this.#perform(effect);
    });
    clearTimeout(this.#timer);
    const tickMs = nextTickMs(state);
    if (tickMs !== Infinity)
      this.#timer = setTimeout(() => this.#input({ tag: 'tick' }), Math.max(1, tickMs - Date.now()));
    if (before.tag !== state.tag) {
      this.ports.log.info({ recordingId: this.id, state: state.tag, ...reasonOf(state) }, 'recording');
      this.#span.changed(state);
      this.ports.changed(this);
    }
    if (state.tag === 'finished' || state.tag === 'released') this.#leave();
  }

  #leave(): void {
    this.#span.end(this.row, this.#state);
    this.#resolveOver();
  }

  #perform(effect: RecordingEffect): void {
    switch (effect.tag) {
      case 'open-part':
        void this.#open();
        return;
      case 'close-part':
        void this.#close();
        return;
      case 'make-file':
        void this.#makeFile();
        return;
      case 'save':
        this.#change({ ...phaseOf(this.#state), ...reasonOf(this.#state) });
        return;
      default:
        effect satisfies never;
    }
  }

  #change(change: RecordingChange): void {
    // The end of a failed recording and what follows from it are stored in one transaction, so `save` must not store it.
    if (this.#state.tag === 'failed') {
      void this.#fail(change);
      return;
    }
    this.#unsaved = { ...this.#unsaved, ...change };
    void this.save();
  }

  async #open(): Promise<void> {
    const { ports, row } = this;
    const streams = this.#streams;
    // Next time the streams may be on another node.
    this.#streams = undefined;
    this.#hasBegun = false;
    try {
      const part = await inStep('tap', () =>
        RecordedPart.open(
          { ...ports, addPart: () => inStep('part', () => this.folder.addPart(this.epoch)) },
          {
            ...{ tenant: row.tenant, streamNames: recordedStreams(row.streamName), streams },
            container: row.container ?? undefined,
          },
          {
            onLost: (reason, absence) => this.#input({ tag: 'lost', reason, absence }),
            onBroken: (reason) => this.#input({ tag: 'broken', reason }),
            onStuck: (reason) => this.#stuck(reason),
            onWritten: () => this.#written(part),
          },
        ),
      );
      this.#part = part;
      if (this.#hasBegun) void part.attach();
      const { container } = part;
      this.row = { ...row, container };
      this.#savedFacts = 0;
      const startedAt = (this.row.startedAt ??= new Date());
      this.#unsaved = { ...this.#unsaved, container, startedAt, facts: this.#factsWith(part) };
      this.#answer(undefined);
      this.#input({ tag: 'opened' });
    } catch (error) {
      const refused =
        error instanceof PartRefused
          ? error
          : new PartRefused(isDiskFull(error) ? 'the disk is full' : messageOf(error), 'is-over', { cause: error });
      this.#answer(refused);
      this.#input({ tag: 'refused', reason: refused.message, absence: refused.absence });
    }
  }

  /** The first time the recording goes on, because a pause of the whole machine looks the same. */
  #stuck(reason: string): void {
    const input: RecordingInput = this.#wasStuck
      ? { tag: 'broken', reason }
      : { tag: 'lost', reason, absence: 'may-return' };
    this.#wasStuck = true;
    this.#input(input);
  }

  #answer(refusal: PartRefused | undefined): void {
    this.#firstAnswer?.(refusal);
    this.#firstAnswer = undefined;
  }

  #written(part: RecordedPart): void {
    const { firstWrittenAt, facts } = part;
    if (firstWrittenAt !== undefined && this.row.firstFrameAt === null) {
      this.row.firstFrameAt = firstWrittenAt;
      this.#change({ firstFrameAt: firstWrittenAt });
    }
    if (facts.firstFrameCapturedAtMs !== undefined && this.row.firstPeerFrameAt === null && this.#parts === 0) {
      this.row.firstPeerFrameAt = new Date(facts.firstFrameCapturedAtMs);
      this.#change({ firstPeerFrameAt: this.row.firstPeerFrameAt });
    }
    // This is saved at once, because nobody could find it out after a crash.
    const told = facts.losses + facts.gaps.length + part.tracks.length;
    if (told !== this.#savedFacts) {
      this.#savedFacts = told;
      this.#change({ facts: this.#factsWith(part) });
    }
    this.ports.written(this);
  }

  #factsWith({ tracks, notCarried, facts: { gaps, losses } }: RecordedPart): LiveFacts {
    return {
      tracks: tracks.map(({ kind, codec }) => ({ kind, codec })),
      notCarried: [...notCarried],
      gaps: [...this.#facts.gaps, ...gaps.map((gap) => ({ part: this.#parts, ...gap }))].slice(0, MAX_GAPS),
      losses: this.#facts.losses + losses,
    };
  }

  async #close(): Promise<void> {
    const part = this.#part;
    this.#part = undefined;
    if (part !== undefined) {
      try {
        await part.close();
      } catch (error) {
        this.ports.log.warn({ err: error, recordingId: this.id }, 'the end of a part could not be written');
      }
      this.#facts = this.#factsWith(part);
      this.#parts += 1;
      this.#closedBytes += part.sizeBytes;
      this.#closedMs += part.facts.durationMs;
    }
    this.#stoppedAt = new Date();
    this.#change({ stoppedAt: this.#stoppedAt, facts: this.#facts });
    this.#input({ tag: 'closed' });
  }

  async #makeFile(): Promise<void> {
    const reason = this.#state.tag === 'finishing' ? this.#state.reason : '';
    try {
      this.#made ??= await this.ports.inTurn(() => inStep('file', () => this.#madeFile(reason)));
    } catch (error) {
      const trouble = isDiskFull(error) ? 'the disk has no room for the finished file' : messageOf(error);
      this.ports.log.warn({ err: error, recordingId: this.id }, 'a recording’s file could not be finished yet');
      this.#input({ tag: 'file-failed', trouble });
      return;
    }
    if (this.#made === undefined) {
      this.#input({ tag: 'nothing-recorded' });
      return;
    }
    await this.#saving;
    try {
      const ended = await this.ports.store.end(
        this.id,
        this.epoch,
        { ...this.#unsaved, ...(await this.#endOf(this.#made, reason)) },
        this.ports.endHooks(),
      );
      this.#unsaved = {};
      if (ended !== undefined) {
        this.row = ended;
        await this.folder.dropParts();
      }
      this.#input({ tag: 'file-made' });
    } catch (error) {
      this.ports.log.warn(
        { err: asWeirError(error), recordingId: this.id },
        'a finished recording could not be saved yet',
      );
      this.#input({ tag: 'file-failed', trouble: 'the database can’t be reached' });
    }
  }

  /** Undefined if there is nothing in the parts. */
  async #madeFile(reason: string): Promise<StoredFile | undefined> {
    const made = await this.folder.finish();
    switch (made.tag) {
      case 'finished':
        return made;
      case 'empty':
        return undefined;
      case 'different-tracks':
        await this.ports.splitOff(this.row, made.part, reason);
        return this.#madeFile(reason);
      default:
        return made satisfies never;
    }
  }

  async #endOf(file: StoredFile, reason: string): Promise<RecordingChange> {
    const { row } = this;
    const { durationMs, sizeBytes, container, joints, parts, startedAtMs } = file;
    return {
      ...{ state: 'FINISHED', reason, container, durationMs: Math.round(durationMs), sizeBytes: BigInt(sizeBytes) },
      finishedAt: new Date(),
      startedAt: row.startedAt ?? new Date(startedAtMs),
      firstFrameAt: row.firstFrameAt ?? new Date(startedAtMs),
      stoppedAt: this.#stoppedAt ?? (await this.folder.lastWrittenAt()) ?? new Date(),
      facts: { ...this.#facts, parts, joints: joints.map((joint) => ({ ...joint })) } as object,
    };
  }

  async #fail(change: RecordingChange): Promise<void> {
    await this.#saving;
    for (let failures = 0; !this.#isReleased; failures++) {
      try {
        const ended = await this.ports.store.end(
          this.id,
          this.epoch,
          { ...this.#unsaved, ...change, state: 'FAILED', finishedAt: new Date() },
          this.ports.endHooks(),
        );
        if (ended !== undefined) this.row = ended;
        this.#unsaved = {};
        await this.folder.remove();
        break;
      } catch (error) {
        this.ports.log.debug({ err: error, recordingId: this.id }, 'a failed recording could not be saved yet');
        await sleep(backOffMs(STORE_PACE, failures, Math.random()));
      }
    }
    this.#leave();
  }
}

const PHASES: Readonly<Record<RecordingState['tag'], RecordingPhase | undefined>> = {
  opening: undefined,
  waiting: 'WAITING',
  recording: 'RECORDING',
  closing: 'FINISHING',
  finishing: 'FINISHING',
  unfinished: 'FINISHING',
  finished: 'FINISHED',
  failed: 'FAILED',
  released: undefined,
};

const phaseOf = (state: RecordingState): RecordingChange => {
  // Another instance, or this one after its restart, goes on with what was released.
  if (state.tag === 'closing' && state.ending.tag === 'release') return {};
  const phase = PHASES[state.tag];
  return phase === undefined ? {} : { state: state.tag === 'waiting' && !state.hasParts ? 'STARTING' : phase };
};

const reasonOf = (state: RecordingState): { readonly reason?: string } => {
  switch (state.tag) {
    case 'recording':
      return { reason: '' };
    case 'unfinished':
      return { reason: state.reason === '' ? state.trouble : `${state.reason}; ${state.trouble}` };
    case 'closing':
      return state.ending.tag === 'stop' ? { reason: state.ending.reason } : {};
    case 'released':
      return {};
    default:
      return { reason: state.reason };
  }
};
