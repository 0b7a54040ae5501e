import { randomUUID } from 'node:crypto';
import { webhookMessage, type Outbox } from '@weir/outbox';
import { uploadFailed, uploadReady, type UploadFailed, type UploadReady } from '@weir/protocol-eyeson';
import type { Deliveries, DeliveryNews } from './deliveries.js';
import { labelsOf, type Recordings } from './recordings.js';
import type { SessionRecorder, SessionRecording } from './session-socket.js';
import { WEBHOOK_QUEUE } from './session-store.js';
import type { RecordingRow, Transaction } from './store.js';
import type { UploadUrlProblem } from './upload-url.js';

export interface SessionRecorderPorts {
  readonly recordings: Pick<Recordings, 'record' | 'stop' | 'onEvent'>;
  readonly deliveries: Pick<Deliveries, 'urlProblem'>;
}

/** Records sessions like any other stream, and delivers each recording with one PUT to its `upload_url`. */
export const recordSessions = ({ recordings, deliveries }: SessionRecorderPorts): SessionRecorder => ({
  async record({ uploadUrl, webhookUrl, id = randomUUID(), ...stream }: SessionRecording) {
    const problem = await deliveries.urlProblem(uploadUrl);
    if (problem !== undefined) return { refusal: { code: codeOf(problem), message: problem.text } };
    let reason: string | undefined;
    const stopListening = recordings.onEvent((event, row) => {
      if (row.id === id && (event === 'stopped' || event === 'failed')) ({ reason } = row);
    });
    try {
      await recordings.record({ ...stream, ...{ id, webhookUrl, destination: { kind: 'put', url: uploadUrl } } });
    } finally {
      stopListening();
    }
    // The caller didn't know the recording yet when it ended, so it couldn't hear of the end.
    return reason === undefined
      ? { id }
      : { refusal: { code: 'NOT_FOUND', message: `Nothing is recorded: ${reason}` } };
  },
  stop: (id, reason) => recordings.stop(id, reason),
  onEnded: (ended) =>
    recordings.onEvent((event, { id, reason }) => {
      if (event === 'stopped' || event === 'failed') ended(id, reason);
    }),
});

const codeOf = ({ trap }: UploadUrlProblem): string => `UPLOAD_URL_${trap.toUpperCase().replaceAll('-', '_')}`;

type UploadStatus = (UploadReady | UploadFailed)['status'];

const webhookIdOf = (recordingId: string, status: UploadStatus): string => `${status}_${recordingId}`;

/** The ids of all webhooks that a recording can have. */
export const uploadWebhookIdsOf = (recordingId: string): string[] =>
  (['upload_ready', 'upload_failed'] as const).map((status) => webhookIdOf(recordingId, status));

/** Tells the webhook of a recording what became of its file, in the transaction that stores it. */
export const tellWebhook =
  (outbox: Pick<Outbox, 'add'>) =>
  async (transaction: Transaction, row: RecordingRow, news: DeliveryNews): Promise<void> => {
    if (row.webhookUrl === null) return;
    const body = bodyOf(row, news);
    await outbox.add(transaction, {
      ...{ id: webhookIdOf(row.id, body.status), queue: WEBHOOK_QUEUE, scope: row.tenant },
      key: labelsOf(row)['sessionId'] ?? row.splitOf ?? row.id,
      ...webhookMessage({ url: row.webhookUrl, body: JSON.stringify(body) }),
    });
  };

const bodyOf = (row: RecordingRow, news: DeliveryNews): UploadReady | UploadFailed => {
  const upload = { recordingId: row.id, clientId: labelsOf(row)['clientId'] ?? '' };
  switch (news.tag) {
    case 'delivered': {
      const startedAt = row.startedAt ?? row.createdAt;
      return uploadReady({
        ...upload,
        startedAtMs: startedAt.getTime(),
        firstFrameWrittenAtMs: (row.firstFrameAt ?? startedAt).getTime(),
        firstFrameCapturedAtMs: row.firstPeerFrameAt?.getTime(),
        stoppedAtMs: (row.stoppedAt ?? row.finishedAt ?? startedAt).getTime(),
        durationMs: row.durationMs ?? 0,
        sizeBytes: Number(row.sizeBytes ?? 0),
      });
    }
    case 'failed':
      return uploadFailed({ ...upload, reason: row.reason, statusCode: news.statusCode });
    default:
      return news satisfies never;
  }
};
