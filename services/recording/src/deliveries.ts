import { ErrorCode, WeirError } from '@weir/contracts';
import type { Outbox } from '@weir/outbox';
import type { OutboundGuard } from '@weir/outbound';
import type { Logger } from '@weir/platform';
import { z } from 'zod';
import type { RecordingConfig } from './config.js';
import { givenUrlProblem } from './given-upload-url.js';
import type { Recordings } from './recordings.js';
import type { RecordingRow, RecordingStore } from './store.js';
import { S3Storage } from './upload-s3.js';
import { s3SettingsOf } from './upload-settings.js';
import { Uploads, type Upload, type UploadState } from './uploads.js';

/** What the owner of a recording says about where its file goes; the service makes the names. */
export const wantedDestination = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('put'), url: z.string().max(4_096).describe('Presigned for one PUT of the file.') }),
  z.object({ kind: z.literal('s3') }).describe('The S3-compatible storage of the settings.'),
  z.object({ kind: z.literal('folder') }).describe('The folder of the settings.'),
]);
export type WantedDestination = z.output<typeof wantedDestination>;

export interface DeliveriesPorts {
  readonly outbox: Outbox;
  readonly guard: OutboundGuard;
  readonly store: RecordingStore;
  readonly recordings: Recordings;
  readonly log: Logger;
}

/** Takes the finished files of recordings to their destinations, and keeps the recordings' states. */
export class Deliveries {
  readonly #uploads: Uploads;

  constructor(
    private readonly ports: DeliveriesPorts,
    private readonly config: RecordingConfig,
  ) {
    const { outbox, guard, store, recordings, log } = ports;
    const s3 = s3SettingsOf(config);
    this.#uploads = new Uploads(
      {
        ...{ outbox, guard, log },
        s3: s3 && new S3Storage(s3, guard),
        folder: config.WEIR_RECORDING_FOLDER,
        uploaded: ({ recordingId }) => store.delivery(recordingId, 'DELIVERED', ''),
        failed: ({ recordingId }, { words }) => store.delivery(recordingId, 'FAILED', `not delivered: ${words}`),
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
      const upload = this.#uploadOf(ended);
      if (upload === undefined) return;
      await this.#uploads.deliver(transaction, upload, ended.tenant);
      await transaction.recording.update({ where: { id: ended.id }, data: { state: 'DELIVERING' } });
    });
    recordings.onEvent((event) => {
      if (event === 'finished') outbox.wake();
    });
  }

  /** Throws INVALID for a destination to which nothing can be delivered, with what is wrong with it. */
  async demandUsable(wanted: WantedDestination): Promise<void> {
    const { config } = this;
    const refused = (message: string) => new WeirError(ErrorCode.INVALID, message);
    switch (wanted.kind) {
      case 'put': {
        const problem = await givenUrlProblem(wanted.url, this.ports.guard, config);
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

  #uploadOf(row: RecordingRow): Upload | undefined {
    const { id, container, sizeBytes, destination } = row;
    if (sizeBytes === null || destination === null || (container !== 'webm' && container !== 'mp4')) return undefined;
    const wanted = wantedDestination.parse(destination);
    const name = `${id}.${container}`;
    return {
      recordingId: id,
      file: {
        path: this.ports.recordings.folderOf(id).filePath(container),
        ...{ sizeBytes: Number(sizeBytes), contentType: `video/${container}` },
      },
      destination:
        wanted.kind === 'put' ? wanted : wanted.kind === 's3' ? { kind: 's3', key: name } : { kind: 'folder', name },
    };
  }
}
