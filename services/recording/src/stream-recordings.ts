import type { MessageInitShape } from '@bufbuild/protobuf';
import type { Bus } from '@weir/bus';
import {
  ErrorCode,
  isWeirError,
  StreamRecordingEvents,
  StreamRecordingOwner,
  StreamRecordings,
  type StreamRecordingSchema,
} from '@weir/contracts';
import type { Outbox } from '@weir/outbox';
import { parsed } from '@weir/rest';
import type { Pace } from '@weir/timing';
import { z } from 'zod';
import { labelsOf, type Recordings } from './recordings.js';
import type { RecordingRow, RecordingStore } from './store.js';

export interface StreamRecordingsPorts {
  readonly bus: Pick<Bus, 'serve' | 'publish' | 'call'>;
  readonly outbox: Pick<Outbox, 'add' | 'deliver'>;
  readonly recordings: Pick<Recordings, 'record' | 'stop' | 'onEvent' | 'addEndHook'>;
  readonly store: Pick<RecordingStore, 'going' | 'allGoing'>;
}

/** The label that holds the key of a recording that another service has started. */
const KEY = 'key';
/** The label of a recording whose owner hears of its files. */
const TELL_OWNER = 'tellOwner';

const OWNERS_QUEUE = 'owners';
const OWNERS_PACE: Pace = { firstMs: 1_000, maxMs: 60_000 };
const fileSchema = z.object({
  ...{ tenant: z.string(), recordingId: z.string() },
  labels: z.record(z.string(), z.string()),
});

const startRequest = z.object({
  tenant: z.string().min(1),
  streamName: z.string().min(1).max(1_024),
  key: z.string().min(1).max(256),
  name: z.string().max(256),
  labels: z.record(z.string(), z.string().max(1_024)),
  splitMs: z.number(),
  splitBytes: z.bigint(),
  tellOwner: z.boolean(),
});

/** Lets other services record streams: answers their requests, and tells when such recordings begin and end. */
export const serveStreamRecordings = ({
  bus,
  outbox,
  recordings,
  store,
}: StreamRecordingsPorts): { close(): Promise<void> } => {
  /** The starts that this instance works on. The same request twice must not make two recordings. */
  const starting = new Map<string, Promise<RecordingRow>>();

  const start = async (request: z.infer<typeof startRequest>): Promise<RecordingRow> => {
    const { tenant, streamName, key, name, labels, splitMs, splitBytes, tellOwner } = request;
    const [going] = await store.going(tenant, KEY, key);
    if (going !== undefined) return going;
    try {
      return await recordings.record({
        ...{ tenant, streamName, name, claim: key },
        labels: { ...labels, [KEY]: key, ...(tellOwner && { [TELL_OWNER]: 'yes' }) },
        splitMs: splitMs || undefined,
        splitBytes: Number(splitBytes) || undefined,
      });
    } catch (error) {
      const [begun] = isWeirError(error, ErrorCode.ALREADY_EXISTS) ? await store.going(tenant, KEY, key) : [];
      // Another instance was asked at the same time.
      if (begun !== undefined) return begun;
      throw error;
    }
  };

  const startOnce = (request: z.infer<typeof startRequest>): Promise<RecordingRow> => {
    const id = JSON.stringify([request.tenant, request.key]);
    const running = starting.get(id);
    if (running !== undefined) return running;
    const started = start(request).finally(() => starting.delete(id));
    starting.set(id, started);
    return started;
  };

  const served = [
    bus.serve(StreamRecordings.method.start, async (request) => ({
      recording: described(await startOnce(parsed(startRequest, request))),
    })),
    bus.serve(StreamRecordings.method.stop, async ({ tenant, key }) => {
      const ids = new Set((await store.going(tenant, KEY, key)).map(firstIdOf));
      for (const id of ids) await recordings.stop(id);
      return { stoppedCount: ids.size };
    }),
    bus.serve(StreamRecordings.method.list, async ({ tenant }) => {
      const byKey = new Map<string, RecordingRow>();
      for (const row of await store.allGoing(tenant)) byKey.set(labelsOf(row)[KEY] ?? '', row);
      byKey.delete('');
      return { recordings: [...byKey].map(([key, row]) => ({ key, recording: described(row) })) };
    }),
  ];
  const stopListening = recordings.onEvent((event, row) => {
    const key = labelsOf(row)[KEY];
    // A recording that is split goes on, and other services know it by its first file.
    const goesOn = event === 'started' ? row.splitIndex > 0 : row.reason === 'split';
    if (key === undefined || event === 'finished' || goesOn) return;
    bus.publish(StreamRecordingEvents.method.recordingChanged, {
      ...{ tenant: row.tenant, key, reason: row.reason, recording: described(row) },
      recordingNow: event === 'started',
    });
  });
  recordings.addEndHook(async (transaction, row) => {
    const all = labelsOf(row);
    if (all[TELL_OWNER] === undefined || row.state === 'FAILED') return;
    const labels = Object.fromEntries(Object.entries(all).filter(([name]) => name !== TELL_OWNER && name !== KEY));
    const payload = { tenant: row.tenant, recordingId: row.id, labels } satisfies z.infer<typeof fileSchema>;
    await outbox.add(transaction, { id: `file_${row.id}`, queue: OWNERS_QUEUE, scope: row.tenant, payload });
  });
  outbox.deliver(OWNERS_QUEUE, {
    schema: fileSchema,
    deliver: async ({ payload }) => {
      await bus.call(StreamRecordingOwner.method.fileReady, payload);
      return { tag: 'delivered' };
    },
    pace: OWNERS_PACE,
  });
  return {
    close: async () => {
      stopListening();
      await Promise.all(served.map((registration) => registration.close()));
    },
  };
};

const firstIdOf = ({ id, splitOf }: RecordingRow): string => splitOf ?? id;

const described = (row: RecordingRow): MessageInitShape<typeof StreamRecordingSchema> => ({
  recordingId: firstIdOf(row),
  startedAtMs: BigInt(row.startedAt?.getTime() ?? 0),
  fileName: row.startedAt === null ? '' : `${firstIdOf(row)}.${row.container ?? ''}`,
});
