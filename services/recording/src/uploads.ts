import { setTimeout as sleep } from 'node:timers/promises';
import {
  BrokenOff,
  hostOf,
  type AttemptContext,
  type Message,
  type Outbox,
  type Outcome,
  type Replayed,
  type Transaction,
} from '@weir/outbox';
import type { OutboundGuard } from '@weir/outbound';
import type { Logger } from '@weir/platform';
import { backOffMs, type Pace } from '@weir/timing';
import { z } from 'zod';
import {
  fileProblem,
  uploadDestination,
  uploadFile,
  type Confirmation,
  type UploadContext,
  type UploadDestination,
  type UploadResult,
} from './upload-file.js';
import { copyToFolder } from './upload-folder.js';
import { inDeliverySpan, type DeliveryTrace } from './tracing.js';
import { putFile } from './upload-put.js';
import type { MultipartUpload, S3Storage } from './upload-s3.js';

const uploadSchema = z.object({
  recordingId: z.string(),
  file: uploadFile,
  destination: uploadDestination,
  /** The trace context of the recording's span. */
  traceparent: z.string().optional(),
});
/** A finished recording on its way to its destination. */
export type Upload = z.output<typeof uploadSchema>;

export interface UploadsPorts {
  readonly outbox: Outbox;
  readonly guard: OutboundGuard;
  readonly log: Pick<Logger, 'warn'>;
  /** The storage of the destination `s3`. */
  readonly s3?: S3Storage | undefined;
  /** The destination `folder`. */
  readonly folder?: string | undefined;
  /**
   * Called when the destination has the file. It must be idempotent: it may be called again after a crash. The owner
   * stores this together with the message that tells others.
   */
  uploaded(upload: Upload, confirmation: Confirmation): Promise<void>;
  /** Called when there are no more attempts until somebody asks for one. It must be idempotent. */
  failed(upload: Upload, failure: { readonly words: string; readonly status?: number }): Promise<void>;
}

export interface UploadsSettings {
  /** Whether destinations by URL must be https. */
  readonly requireHttps: boolean;
  /** Default 72 h. */
  readonly keepTryingMs?: number;
  /** Uploads of this instance at the same time. Default 4. */
  readonly concurrency?: number;
  readonly pace?: Pace;
  readonly leaseMs?: number;
}

export type UploadState =
  | { readonly tag: 'pending'; readonly nextAttemptAt: Date; readonly lastFailure: UploadFailure | undefined }
  | { readonly tag: 'delivering'; readonly sentBytes: number }
  | { readonly tag: 'delivered'; readonly at: Date; readonly confirmation: Confirmation }
  | { readonly tag: 'failed'; readonly at: Date; readonly failure: UploadFailure };

export interface UploadFailure {
  readonly words: string;
  readonly status: number | undefined;
}

const QUEUE = 'upload';
const CONCURRENCY = 4;
/** The most uploads at a time to one destination, which may be slow. */
const PER_DESTINATION = 3;
/** How long the upload of a killed instance waits until another instance goes on with it. */
const LEASE_MS = 15_000;
/** A destination that is silent is given up much earlier. */
const ATTEMPT_MS = 24 * 3_600_000;
const NOTED_EVERY_MS = 2_000;
const ABORT_MS = 10_000;
const DATABASE_PACE: Pace = { firstMs: 200, maxMs: 2_000 };

const confirmation = z.object({ by: z.enum(['checksum', 'size', 'status']) });
/** What an attempt stores for the next one, and for those who ask how the delivery goes. */
const noteSchema = z.object({
  sentBytes: z.number().default(0),
  multipart: z.object({ uploadId: z.string(), partBytes: z.number() }).optional(),
  uploaded: confirmation.optional(),
});
type Note = z.output<typeof noteSchema>;

const readNote = (text: string | undefined): Note =>
  noteSchema.parse(text === undefined ? {} : (JSON.parse(text) as unknown));

export const uploadIdOf = (recordingId: string): string => `upload:${recordingId}`;

/** Delivers finished recordings, as messages of the outbox: if an instance is killed, another one goes on. */
export class Uploads {
  constructor(
    private readonly ports: UploadsPorts,
    private readonly settings: UploadsSettings,
  ) {
    ports.outbox.deliver(QUEUE, {
      schema: uploadSchema,
      deliver: (message, context) => this.#attempt(message, context),
      dead: async (message, { words, status }) => {
        await this.#removeParts(message.payload);
        await ports.failed(message.payload, { words, ...(status !== undefined && { status }) });
      },
      concurrency: settings.concurrency ?? CONCURRENCY,
      perDestination: PER_DESTINATION,
      timeoutMs: ATTEMPT_MS,
      leaseMs: settings.leaseMs ?? LEASE_MS,
      ...(settings.pace && { pace: settings.pace }),
    });
  }

  /**
   * Begins the delivery when the owner's transaction commits; the file must not change any more. A recording is
   * delivered once, however often this is called.
   * @param scope to whom the recording belongs
   */
  async deliver(transaction: Transaction, upload: Upload, scope: string): Promise<void> {
    const { keepTryingMs } = this.settings;
    await this.ports.outbox.add(transaction, {
      ...{ queue: QUEUE, id: uploadIdOf(upload.recordingId), scope, destination: placeOf(upload), payload: upload },
      ...(keepTryingMs !== undefined && { keepTryingMs }),
    });
  }

  /** Makes the next attempt now, even if the upload has failed or succeeded; to another destination if one is given. */
  again(upload: Upload, scope: string): Promise<Replayed> {
    return this.ports.outbox.replay(uploadIdOf(upload.recordingId), {
      ...{ scope, payload: upload, destination: placeOf(upload) },
    });
  }

  /** @returns undefined if the recording has no destination */
  async state(recordingId: string): Promise<UploadState | undefined> {
    const id = uploadIdOf(recordingId);
    const message = await this.ports.outbox.get(id);
    if (message === undefined) return undefined;
    const note = readNote(message.note);
    const endedAt = message.endedAt ?? message.dueAt;
    switch (message.state) {
      case 'delivered':
        return { tag: 'delivered', at: endedAt, confirmation: note.uploaded ?? { by: 'status' } };
      case 'dead':
        return { tag: 'failed', at: endedAt, failure: (await this.#lastFailure(id)) ?? UNKNOWN_FAILURE };
      case 'waiting':
        return message.inProgress
          ? { tag: 'delivering', sentBytes: note.sentBytes }
          : { tag: 'pending', nextAttemptAt: message.dueAt, lastFailure: await this.#lastFailure(id) };
      default:
        return message.state satisfies never;
    }
  }

  async #lastFailure(id: string): Promise<UploadFailure | undefined> {
    const attempts = await this.ports.outbox.attempts(id);
    const last = attempts.filter(({ result }) => result === 'retry' || result === 'dead').at(-1);
    return last && { words: last.words ?? '', status: last.status };
  }

  async #attempt(message: Message<Upload>, context: AttemptContext): Promise<Outcome> {
    const { payload: upload } = message;
    const notes = new Notes(readNote(message.note), context, this.ports.log);
    if (notes.now.uploaded !== undefined) {
      await this.ports.uploaded(upload, notes.now.uploaded);
      return { tag: 'delivered' };
    }
    const result = await inDeliverySpan(traceOf(upload), async () => {
      return (await fileProblem(upload.file)) ?? (await this.#upload(upload, notes, context.signal));
    });
    const status = result.status === undefined ? {} : { status: result.status };
    switch (result.tag) {
      case 'uploaded':
        await notes.keep({ uploaded: result.confirmation, sentBytes: upload.file.sizeBytes });
        await this.ports.uploaded(upload, result.confirmation);
        return { tag: 'delivered', ...status };
      case 'retry':
        return result;
      case 'refused':
        return { tag: 'dead', words: result.words, ...status };
      default:
        return result satisfies never;
    }
  }

  #upload({ recordingId, file, destination }: Upload, notes: Notes, signal: AbortSignal): Promise<UploadResult> {
    const context: UploadContext = { signal, progress: (sentBytes) => notes.progress(sentBytes) };
    const { guard, s3, folder } = this.ports;
    const { requireHttps } = this.settings;
    switch (destination.kind) {
      case 'put':
        return putFile(destination.url, file, context, { guard, requireHttps });
      case 's3': {
        if (s3 === undefined) return Promise.resolve(NOT_CONFIGURED);
        const begin = (multipart: MultipartUpload | undefined) => notes.write({ multipart });
        return s3.upload(recordingId, destination.key, file, { ...context, begun: notes.now.multipart, begin });
      }
      case 'folder':
        if (folder === undefined) return Promise.resolve(NOT_CONFIGURED);
        return copyToFolder(folder, destination.name, file, context);
      default:
        return destination satisfies never;
    }
  }

  /** What can't be removed now is removed by the storage's own rules, if it has some. */
  async #removeParts({ recordingId, destination }: Upload): Promise<void> {
    if (destination.kind !== 's3') return;
    try {
      await this.ports.s3?.abort(destination.key, AbortSignal.timeout(ABORT_MS));
    } catch (err) {
      this.ports.log.warn({ err, recordingId }, 'the parts of an upload that failed could not be removed');
    }
  }
}

const placeOf = ({ destination }: Upload): string =>
  destination.kind === 'put' ? hostOf(destination.url) : destination.kind;

const traceOf = ({ recordingId, file, destination, traceparent }: Upload): DeliveryTrace => ({
  ...{ recordingId, traceparent, kind: destination.kind, sizeBytes: file.sizeBytes },
  host: destination.kind === 'put' && URL.canParse(destination.url) ? new URL(destination.url).hostname : undefined,
});

const UNKNOWN_FAILURE: UploadFailure = { words: 'the delivery failed', status: undefined };
const NOT_CONFIGURED: UploadResult = { tag: 'retry', words: 'the platform has no such destination configured' };

/** What an attempt has noted; progress is stored only now and then. */
class Notes {
  #now: Note;
  #notedAtMs = performance.now();

  constructor(
    before: Note,
    private readonly context: AttemptContext,
    private readonly log: Pick<Logger, 'warn'>,
  ) {
    this.#now = { ...before, sentBytes: 0 };
  }

  get now(): Note {
    return this.#now;
  }

  async write(change: Partial<Note>): Promise<void> {
    this.#now = { ...this.#now, ...change };
    this.#notedAtMs = performance.now();
    await this.context.note(JSON.stringify(this.#now));
  }

  /** Tries until the database has it, as long as this instance has the message: else the file would be sent again. */
  async keep(change: Partial<Note>): Promise<void> {
    for (let failures = 0; ; failures++) {
      try {
        return await this.write(change);
      } catch (err) {
        if (err instanceof BrokenOff) throw err;
        if (failures === 0) this.log.warn({ err }, 'the end of an upload can’t be stored yet');
        await sleep(backOffMs(DATABASE_PACE, failures, Math.random()), undefined, { signal: this.context.signal });
      }
    }
  }

  progress(sentBytes: number): void {
    this.#now = { ...this.#now, sentBytes };
    if (performance.now() - this.#notedAtMs < NOTED_EVERY_MS) return;
    this.write({}).catch((err: unknown) => {
      if (!(err instanceof BrokenOff)) this.log.warn({ err }, 'the progress of an upload could not be stored');
    });
  }
}

export type { UploadDestination };
