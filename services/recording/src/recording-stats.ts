import type { RecordingStatsPage } from '@weir/protocol-eyeson';
import { periodOf } from '@weir/protocol-eyeson';
import { z } from 'zod';
import type { PrismaClient } from './generated/client.js';
import { afterToken, tokenAfter, type StatsFilter } from './session-store.js';

const labelsSchema = z.object({ sessionId: z.string().default(''), clientId: z.string().default('') });

/** The recordings of sessions, as the stats list them. */
export class RecordingStats {
  constructor(private readonly database: PrismaClient) {}

  /** Oldest first. */
  async page({ tenant, apiId, limit, nextToken, ...query }: StatsFilter): Promise<RecordingStatsPage> {
    const period = periodOf(query);
    const rows = await this.database.recording.findMany({
      where: {
        tenant,
        labels: { path: ['apiId'], equals: apiId },
        ...(period && { createdAt: { gte: new Date(period.fromMs), lt: new Date(period.untilMs) } }),
        ...(nextToken !== undefined && { AND: afterToken(nextToken) }),
      },
      orderBy: [{ createdAt: 'asc' }, { id: 'asc' }],
      take: limit + 1,
    });
    const listed = rows.slice(0, limit);
    const last = listed.at(-1);
    return {
      api_id: apiId,
      next_token: rows.length > limit && last !== undefined ? tokenAfter(last) : null,
      recordings: listed.map(({ id, state, startedAt, createdAt, stoppedAt, durationMs, sizeBytes, labels }) => {
        const { sessionId, clientId } = labelsSchema.parse(labels);
        return {
          ...{ api_id: apiId, recording_id: id, client_id: clientId, session_id: sessionId, state },
          started_at: (startedAt ?? createdAt).toISOString(),
          stopped_at: stoppedAt?.toISOString() ?? null,
          duration_ms: durationMs,
          size_bytes: sizeBytes === null ? null : Number(sizeBytes),
        };
      }),
    };
  }
}
