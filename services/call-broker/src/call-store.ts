import type { EndCause } from '@weir/protocol-topvdn';
import type { CallRecord as CallRow, Clip, PrismaClient } from './generated/client.js';
import type { CallQuality } from './call-snapshot.js';

/** What is known of a call that goes on. */
export interface OpenRecord {
  readonly id: string;
  readonly tenant: string;
  readonly appId: string;
  readonly caller: number;
  readonly callee: number | undefined;
  readonly startedMs: number;
  readonly answeredMs: number | undefined;
  readonly establishedMs: number | undefined;
  readonly quality: CallQuality;
  readonly isRecorded: boolean;
}

/** A call that has ended. */
export interface CallRecord extends OpenRecord {
  readonly endedMs: number;
  readonly cause: EndCause;
}

/** A call that goes on as far as its record tells, but of which no instance has said so for some time. */
export interface ForsakenRecord {
  readonly id: string;
  readonly seenAt: Date;
}

export type EndedRow = CallRow & { readonly endedAt: Date; readonly cause: string };

export interface CallPage {
  readonly calls: readonly (EndedRow & { readonly clips: readonly Clip[] })[];
  readonly total: number;
}

const MAX_FORSAKEN = 500;

/** Of a call whose instance is gone, and with which no other one goes on. */
const FORSAKEN: EndCause = 'shutdown';

/** The records of calls, in the database. */
export class CallStore {
  constructor(private readonly database: Pick<PrismaClient, 'callRecord' | 'clip'>) {}

  /** Writes the record of a call that goes on. Changes nothing if the call has ended. */
  async write(record: OpenRecord): Promise<void> {
    const row = { ...rowOf(record), seenAt: new Date() };
    const { count } = await this.database.callRecord.createMany({ data: [row], skipDuplicates: true });
    if (count === 0) await this.database.callRecord.updateMany({ where: { id: record.id, endedAt: null }, data: row });
  }

  /** These calls go on. */
  async confirm(ids: readonly string[]): Promise<void> {
    if (ids.length === 0) return;
    await this.database.callRecord.updateMany({
      where: { id: { in: [...ids] }, endedAt: null },
      data: { seenAt: new Date() },
    });
  }

  /** Idempotent by the call's id. */
  async end({ endedMs, cause, ...record }: CallRecord): Promise<void> {
    const row = { ...rowOf(record), endedAt: new Date(endedMs), cause };
    await this.database.callRecord.upsert({ where: { id: record.id }, create: row, update: row });
  }

  /** The open records of calls that nobody has confirmed for so long. */
  forsaken(silentMs: number): Promise<readonly ForsakenRecord[]> {
    return this.database.callRecord.findMany({
      where: { endedAt: null, seenAt: { lt: new Date(Date.now() - silentMs) } },
      select: { id: true, seenAt: true },
      orderBy: { seenAt: 'asc' },
      take: MAX_FORSAKEN,
    });
  }

  /**
   * Ends the record at the moment when the call was last confirmed.
   * @returns false if the call has ended or was confirmed meanwhile
   */
  async endForsaken({ id, seenAt }: ForsakenRecord): Promise<boolean> {
    const { count } = await this.database.callRecord.updateMany({
      where: { id, seenAt, endedAt: null },
      data: { endedAt: seenAt, cause: FORSAKEN },
    });
    return count > 0;
  }

  async find(tenant: string, id: string): Promise<CallRow | undefined> {
    return (await this.database.callRecord.findFirst({ where: { tenant, id } })) ?? undefined;
  }

  /** Calls that have ended, the newest first. @param cid only calls of this device */
  async page(tenant: string, { page, size, cid }: { page: number; size: number; cid?: number }): Promise<CallPage> {
    const ofDevice = cid === undefined ? {} : { OR: [{ caller: BigInt(cid) }, { callee: BigInt(cid) }] };
    const where = { tenant, endedAt: { not: null }, ...ofDevice };
    const [rows, total] = await Promise.all([
      this.database.callRecord.findMany({
        where,
        orderBy: [{ endedAt: 'desc' }, { id: 'desc' }],
        skip: (page - 1) * size,
        take: size,
      }),
      this.database.callRecord.count({ where }),
    ]);
    const calls = rows.flatMap(endedIn);
    const clips = await this.database.clip.findMany({
      where: { callId: { in: calls.map(({ id }) => id) } },
      orderBy: { number: 'asc' },
    });
    return {
      calls: calls.map((call) => ({ ...call, clips: clips.filter(({ callId }) => callId === call.id) })),
      total,
    };
  }
}

const dateOf = (atMs: number | undefined): Date | null => (atMs === undefined ? null : new Date(atMs));

const rowOf = ({ startedMs, answeredMs, establishedMs, caller, callee, ...record }: OpenRecord) => ({
  ...record,
  caller: BigInt(caller),
  callee: callee === undefined ? null : BigInt(callee),
  startedAt: new Date(startedMs),
  answeredAt: dateOf(answeredMs),
  establishedAt: dateOf(establishedMs),
});

const endedIn = ({ endedAt, cause, ...row }: CallRow): EndedRow[] =>
  endedAt === null || cause === null ? [] : [{ ...row, endedAt, cause }];
