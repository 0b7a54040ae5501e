import type { EndCause, Side } from '@weir/protocol-topvdn';
import type { CallRecord as CallRow, PrismaClient } from './generated/client.js';
import type { SideQuality } from './call-snapshot.js';

/** A call that has ended. */
export interface CallRecord {
  readonly id: string;
  readonly tenant: string;
  readonly appId: string;
  readonly caller: number;
  readonly callee: number | undefined;
  readonly startedMs: number;
  readonly answeredMs: number | undefined;
  readonly establishedMs: number | undefined;
  readonly endedMs: number;
  readonly cause: EndCause;
  readonly quality: Partial<Record<Side, SideQuality>>;
  readonly isRecorded: boolean;
}

export interface CallPage {
  readonly calls: readonly CallRow[];
  readonly total: number;
}

const dateOf = (atMs: number | undefined): Date | null => (atMs === undefined ? null : new Date(atMs));

/** The records of calls, in the database. */
export class CallStore {
  constructor(private readonly database: Pick<PrismaClient, 'callRecord'>) {}

  /** Idempotent by the call's id. */
  async add({ startedMs, answeredMs, establishedMs, endedMs, caller, callee, ...record }: CallRecord): Promise<void> {
    const row = {
      ...record,
      caller: BigInt(caller),
      callee: callee === undefined ? null : BigInt(callee),
      startedAt: new Date(startedMs),
      answeredAt: dateOf(answeredMs),
      establishedAt: dateOf(establishedMs),
      endedAt: new Date(endedMs),
    };
    await this.database.callRecord.upsert({ where: { id: record.id }, create: row, update: row });
  }

  async find(tenant: string, id: string): Promise<CallRow | undefined> {
    return (await this.database.callRecord.findFirst({ where: { tenant, id } })) ?? undefined;
  }

  /** The newest first. @param cid only calls of this device */
  async page(tenant: string, { page, size, cid }: { page: number; size: number; cid?: number }): Promise<CallPage> {
    const ofDevice = cid === undefined ? {} : { OR: [{ caller: BigInt(cid) }, { callee: BigInt(cid) }] };
    const where = { tenant, ...ofDevice };
    const [calls, total] = await Promise.all([
      this.database.callRecord.findMany({
        where,
        orderBy: [{ endedAt: 'desc' }, { id: 'desc' }],
        skip: (page - 1) * size,
        take: size,
      }),
      this.database.callRecord.count({ where }),
    ]);
    return { calls, total };
  }
}
