import { ErrorCode, WeirError } from '@weir/contracts';
import type { Outbox, Replayed } from '@weir/outbox';
import { refusalOf, type OutboundGuard } from '@weir/outbound';
import type { Logger } from '@weir/platform';
import { z } from 'zod';
import type { RecordingConfig } from './settings.js';
import { givenUrlProblem } from './given-upload-url.js';
import type { RecordingMetrics } from './metrics.js';
import type { Recordings } from './recordings.js';
import type { RecordingRow, RecordingStore, Transaction } from './store.js';
import { traceParent } from './tracing.js';
import { S3Storage } from './upload-s3.js';
import { s3SettingsOf } from './upload-settings.js';
import type { UploadUrlProblem } from './upload-url.js';
import { uploadIdOf, Uploads, type Upload, type UploadState } from './uploads.js';

/** Where the owner of a recording wants its file to go; the service makes the names. */
export const wantedDestination = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('put'), url: z.string().max(4_096).describe('Presigned for one PUT of the file.') }),
  z.object({ kind: z.literal('s3') }).describe('The S3-compatible storage of the settings.'),
  z.object({ kind: z.literal('folder') }).describe('The folder of the settings.'),
]);
export type WantedDestination = z.output<typeof wantedDestination>;

/** What became of a recording's file. `statusCode` is the status that an HTTP destination answered with. */
export type DeliveryNews =
  { readonly tag: 'delivered' } | { readonly tag: 'failed'; readonly statusCode: number | undefined };

export interface DeliveriesPorts {
  readonly outbox: Outbox;
  readonly guard: OutboundGuard;
  readonly store: RecordingStore;
  readonly recordings: Recordings;
  /** Takes part in the transaction that stores the news in the recording's row. */
  readonly tell: (transaction: Transaction, row: RecordingRow, news: DeliveryNews) => Promise<void>;
  readonly metrics: Pick<RecordingMetrics, 'delivered'>;
  readonly log: Logger;
}

/** Delivers the finished files of recordings to their destinations, and keeps the recordings' states up to date. */
export class Deliveries {
  readonly #uploads: Uploads;

  constructor(
    private readonly ports: DeliveriesPorts,
    private readonly config: RecordingConfig,
  ) {
    const { outbox, guard, store, recordings, tell, log } = ports;
    const s3 = s3SettingsOf(config);
    this.#uploads = new Uploads(
      {
        ...{ outbox, guard, log },
        s3: s3 && new S3Storage(s3, guard),
        folder: config.WEIR_RECORDING_FOLDER,
        uploaded: async (upload) => {
          const row = await store.delivery(upload.recordingId, 'DELIVERED', '', (transaction, delivered) =>
            tell(transaction, delivered, { tag: 'delivered' }),
          );
          this.#ended(upload, row, 'delivered');
        },
        failed: async (upload, { words, status }) => {
          const reason = `not delivered: ${words}`;
          const row = await store.delivery(upload.recordingId, 'FAILED', reason, (transaction, failed) =>
            tell(transaction, failed, { tag: 'failed', statusCode: status }),
          );
          this.#ended(upload, row, 'failed');
        },
      },
      {
        requireHttps: !config.WEIR_RECORDING_UPLOAD_HTTP,
        keepTryingMs: config.WEIR_RECORDING_UPLOAD_KEEP_TRYING_MS,
        pace: {
          firstMs: config.WEIR_RECORDING_UPLOAD_RETRY_MIN_MS,
          maxMs: config.WEIR_RECORDING_UPLOAD_RETRY_MAX_MS,
        },
      },
    );
    recordings.addEndHook(async (transaction, ended) => {
      if (ended.state === 'FAILED') return tell(transaction, ended, { tag: 'failed', statusCode: undefined });
      const upload = this.#uploadOf(ended);
      if (upload === undefined) return;
      await this.#uploads.deliver(transaction, upload, ended.tenant);
      await transaction.recording.update({ where: { id: ended.id }, data: { state: 'DELIVERING' } });
    });
    recordings.onEvent((event) => {
      if (event === 'finished') outbox.wake();
    });
  }

  #ended({ destination }: Upload, row: RecordingRow | undefined, outcome: 'delivered' | 'failed'): void {
    const endedAt = row?.stoppedAt ?? row?.finishedAt;
    if (endedAt) this.ports.metrics.delivered(destination.kind, outcome, Date.now() - endedAt.getTime());
    this.ports.outbox.wake();
  }

  /** Why no file can be put to the URL; undefined if one can. */
  urlProblem(url: string): Promise<UploadUrlProblem | undefined> {
    return givenUrlProblem(url, this.ports.guard, this.config);
  }

  /** Throws INVALID, saying what is wrong, for a destination to which nothing can be delivered. */
  async demandUsable(wanted: WantedDestination): Promise<void> {
    const { config } = this;
    const refused = (message: string) => new WeirError(ErrorCode.INVALID, message);
    switch (wanted.kind) {
      case 'put': {
        const problem = await this.urlProblem(wanted.url);
        if (problem !== undefined) throw refused(problem.text);
        return;
      }
      case 's3':
        if (config.WEIR_RECORDING_S3_BUCKET === undefined) throw refused('The platform has no S3 storage configured');
        return;
      case 'folder':
        if (config.WEIR_RECORDING_FOLDER === undefined) throw refused('The platform has no folder configured');
        return;
      default:
        wanted satisfies never;
    }
  }

  /** Why the platform may not call the URL; undefined if it may. */
  async webhookProblem(url: string): Promise<string | undefined> {
    return (await refusalOf(this.ports.guard.check(url, { schemes: ['http', 'https'] })))?.message;
  }

  /** Undefined if the recording has no destination, or isn't finished. */
  state(recordingId: string): Promise<UploadState | undefined> {
    return this.#uploads.state(recordingId);
  }

  /** Delivers the file again, or for the first time, perhaps to another destination. */
  async again(row: RecordingRow, wanted: WantedDestination | undefined): Promise<void> {
    const upload = this.#uploadOf(wanted === undefined ? row : { ...row, destination: wanted });
    if (upload === undefined)
      throw new WeirError(ErrorCode.INVALID, 'The recording has no file, or no destination: name one');
    const { store } = this.ports;
    await store.delivery(row.id, 'DELIVERING', row.reason);
    if ((await this.#uploads.again(upload, row.tenant)) === 'unknown')
      await store.database.$transaction((transaction) => this.#uploads.deliver(transaction, upload, row.tenant));
    this.ports.outbox.wake();
  }

  /** Delivers the file again, to its last destination. */
  async repeat({ id, tenant, reason, deleted }: RecordingRow): Promise<Replayed> {
    if (deleted !== null) throw new WeirError(ErrorCode.INVALID, 'The file was deleted', { by: deleted });
    await this.ports.store.delivery(id, 'DELIVERING', reason);
    return this.ports.outbox.replay(uploadIdOf(id), { scope: tenant });
  }

  #uploadOf(row: RecordingRow): Upload | undefined {
    const { id, container, sizeBytes, destination } = row;
    if (sizeBytes === null || destination === null || (container !== 'webm' && container !== 'mp4')) return undefined;
    const wanted = wantedDestination.parse(destination);
    const name = `${id}.${container}`;
    return {
      ...{ recordingId: id, traceparent: traceParent() },
      file: {
        path: this.ports.recordings.folderOf(id).filePath(container),
        ...{ sizeBytes: Number(sizeBytes), contentType: `video/${container}` },
      },
      destination:
        wanted.kind === 'put' ? wanted : wanted.kind === 's3' ? { kind: 's3', key: name } : { kind: 'folder', name },
    };
  }
}
