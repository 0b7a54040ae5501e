import path from 'node:path';
import { permits, type Principal } from '@weir/access';
import { ErrorCode, WeirError } from '@weir/contracts';
import type { Logger } from '@weir/platform';
import { migratedAdapter } from '@weir/platform/database';
import { Prisma, PrismaClient, type Recording as RecordingRow, type Session } from './generated/client.js';

export type { RecordingRow };
export type RecordingPhase = RecordingRow['state'];
export type Transaction = Prisma.TransactionClient;

const SCHEMA = 'recording';
const MIGRATIONS = path.resolve(import.meta.dirname, '../prisma/migrations');

/** The phases in which an instance must work on a recording. */
export const UNFINISHED = ['STARTING', 'RECORDING', 'WAITING', 'FINISHING'] as const satisfies RecordingPhase[];
/** The phases in which a recording holds its claim. */
const GOING = ['STARTING', 'RECORDING', 'WAITING'] as const satisfies RecordingPhase[];

export type NewRecording = Pick<RecordingRow, 'id' | 'tenant' | 'streamName' | 'urlKey'> &
  Partial<
    Pick<
      RecordingRow,
      'name' | 'container' | 'webhookUrl' | 'splitMs' | 'splitBytes' | 'splitOf' | 'splitIndex' | 'claim'
    >
  > & {
    readonly destination?: Prisma.InputJsonValue | undefined;
    readonly labels?: Prisma.InputJsonObject | undefined;
  };

export type RecordingChange = Partial<
  Pick<
    RecordingRow,
    | 'state'
    | 'reason'
    | 'container'
    | 'startedAt'
    | 'firstFrameAt'
    | 'firstPeerFrameAt'
    | 'stoppedAt'
    | 'finishedAt'
    | 'durationMs'
    | 'sizeBytes'
  >
> & { readonly facts?: Prisma.InputJsonObject };

/** The lease under which an instance works on the recording. */
export interface RecordingLease {
  readonly owner: string;
  readonly epoch: bigint;
}

export interface RecordingFilter {
  readonly tenant: string;
  readonly streamName?: string | undefined;
  readonly states?: readonly RecordingPhase[] | undefined;
  /** Only recordings that were created before this one. */
  readonly after?: string | undefined;
  readonly limit: number;
}

/** Takes part in the transaction in which a recording ends, with its file or as failed, or its delivery ends. */
export type EndHook = (transaction: Transaction, ended: RecordingRow) => Promise<void>;

/** The recordings in the database. */
export class RecordingStore {
  private constructor(readonly database: PrismaClient) {}

  /** Waits for the database and migrates its tables. */
  static async open(url: string, log: Pick<Logger, 'info' | 'warn'>): Promise<RecordingStore> {
    return new RecordingStore(
      new PrismaClient({ adapter: await migratedAdapter({ url, schema: SCHEMA }, MIGRATIONS, log) }),
    );
  }

  async ping(): Promise<void> {
    await this.database.$queryRaw`SELECT 1`;
  }

  /**
   * A file of a split recording takes over the claim of the one before.
   * @returns undefined if a recording that goes on has the claim
   */
  async add(
    recording: NewRecording,
    lease: RecordingLease,
    previous?: RecordingRow,
  ): Promise<RecordingRow | undefined> {
    const { database } = this;
    const added = database.recording.create({ data: dataOf(recording, lease) });
    try {
      if (previous === undefined) return await added;
      const handedOver = database.recording.updateMany({ where: { id: previous.id }, data: { claim: null } });
      return (await database.$transaction([handedOver, added]))[1];
    } catch (error) {
      const isTaken = error instanceof Prisma.PrismaClientKnownRequestError && error.code === 'P2002';
      if (isTaken && typeof recording.claim === 'string') return undefined;
      throw error;
    }
  }

  /** Adds what was split off a recording; an instance that sees its folder finishes it. Idempotent. */
  async addSplit(recording: NewRecording, reason: string): Promise<void> {
    const data = { ...dataOf(recording, { owner: null, epoch: 0n }), state: 'FINISHING' as const, reason };
    await this.database.recording.upsert({ where: { id: recording.id }, create: data, update: {} });
  }

  async find(id: string): Promise<RecordingRow | undefined> {
    return (await this.database.recording.findUnique({ where: { id } })) ?? undefined;
  }

  /** The stored recordings with these ids. */
  findAll(ids: readonly string[]): Promise<Pick<RecordingRow, 'id' | 'finishedAt' | 'sizeBytes' | 'deleted'>[]> {
    return this.database.recording.findMany({
      where: { id: { in: [...ids] } },
      select: { id: true, finishedAt: true, sizeBytes: true, deleted: true },
    });
  }

  /** Newest first. */
  async list({ tenant, streamName, states, after, limit }: RecordingFilter): Promise<RecordingRow[]> {
    const start = after === undefined ? undefined : await this.find(after);
    const where: Prisma.RecordingWhereInput = {
      tenant,
      ...(streamName !== undefined && { streamName }),
      ...(states !== undefined && { state: { in: [...states] } }),
      ...(start !== undefined && {
        OR: [{ createdAt: { lt: start.createdAt } }, { createdAt: start.createdAt, id: { lt: start.id } }],
      }),
    };
    return this.database.recording.findMany({ where, orderBy: [{ createdAt: 'desc' }, { id: 'desc' }], take: limit });
  }

  /** The running recordings with this label. */
  going(tenant: string, label: string, value: string): Promise<RecordingRow[]> {
    return this.#going({ tenant, labels: { path: [label], equals: value } });
  }

  /** All running recordings; of a split one, all files that are still running. */
  allGoing(tenant: string): Promise<RecordingRow[]> {
    return this.#going({ tenant });
  }

  /** The last recordings of a session. */
  ofSession({ id, tenant, createdAt }: Session, limit: number): Promise<RecordingRow[]> {
    return this.database.recording.findMany({
      where: { tenant, createdAt: { gte: createdAt }, labels: { path: ['sessionId'], equals: id } },
      orderBy: { createdAt: 'desc' },
      take: limit,
    });
  }

  /** The recordings that an instance must work on. */
  unfinished(): Promise<RecordingRow[]> {
    return this.database.recording.findMany({ where: { state: { in: [...UNFINISHED] } } });
  }

  /** @returns undefined if another instance has taken the recording, or somebody has removed it since it was read */
  async take({ id, epoch }: RecordingRow, lease: RecordingLease): Promise<RecordingRow | undefined> {
    const { count } = await this.database.recording.updateMany({ where: { id, epoch }, data: { ...lease } });
    return count === 0 ? undefined : this.find(id);
  }

  /** Does nothing if the recording has ended, or another instance has taken it. */
  async save(id: string, epoch: bigint, change: RecordingChange): Promise<void> {
    await this.database.recording.updateMany({
      where: { id, epoch, state: { in: [...UNFINISHED] } },
      data: { ...change, ...claimAfter(change) },
    });
  }

  /** The file with which a recording that is split goes on, if it has begun. */
  async nextFileOf({ id, splitOf, splitIndex }: RecordingRow): Promise<RecordingRow | undefined> {
    const where = { splitOf: splitOf ?? id, splitIndex: { gt: splitIndex } };
    return (await this.database.recording.findFirst({ where })) ?? undefined;
  }

  /**
   * Stores that the recording has its file or has failed; `hooks` write what follows in the same transaction. This may
   * be repeated when it isn't known whether it was done.
   * @returns undefined if another instance has taken the recording
   */
  end(
    id: string,
    epoch: bigint,
    change: RecordingChange,
    hooks: readonly EndHook[],
  ): Promise<RecordingRow | undefined> {
    return this.database.$transaction(async (transaction) => {
      const { count } = await transaction.recording.updateMany({
        where: { id, epoch, state: { in: [...UNFINISHED] } },
        data: { ...change, ...claimAfter(change) },
      });
      const row = await transaction.recording.findUnique({ where: { id } });
      if (row?.epoch !== epoch) return undefined;
      if (count === 0) return row;
      for (const hook of hooks) await hook(transaction, row);
      return row;
    });
  }

  /**
   * Stores how far the delivery of a finished recording is; `hook` writes what follows in the same transaction.
   * @returns undefined if there is no such recording any more
   */
  async delivery(
    id: string,
    state: 'DELIVERING' | 'DELIVERED' | 'FAILED',
    reason: string,
    hook?: EndHook,
  ): Promise<RecordingRow | undefined> {
    const data = { state, ...(state === 'FAILED' && { reason }) };
    return this.database.$transaction(async (transaction) => {
      const where = { id, finishedAt: { not: null } };
      const [row] = await transaction.recording.updateManyAndReturn({ where, data });
      if (row !== undefined) await hook?.(transaction, row);
      return row;
    });
  }

  /** Stores that the recording, and whatever it is split into, must stop. */
  async unwant(id: string): Promise<void> {
    const where = { OR: [{ id }, { splitOf: id }] };
    await this.database.recording.updateMany({ where, data: { wanted: false, claim: null } });
  }

  /** Stores that the file is gone; the row stays for the list. */
  async deleted(id: string, by: 'user' | 'age' | 'space'): Promise<void> {
    await this.database.recording.updateMany({ where: { id }, data: { deleted: by } });
  }

  /** Recordings whose files may be deleted because they needn't be delivered any more, oldest first. */
  removable(): Promise<Pick<RecordingRow, 'id' | 'finishedAt' | 'sizeBytes'>[]> {
    return this.database.recording.findMany({
      where: {
        deleted: null,
        finishedAt: { not: null },
        OR: [{ state: 'DELIVERED' }, { state: 'FINISHED' }, { state: 'FAILED' }],
      },
      orderBy: { finishedAt: 'asc' },
      select: { id: true, finishedAt: true, sizeBytes: true },
    });
  }

  async remove(id: string): Promise<void> {
    await this.database.recording.deleteMany({ where: { id } });
  }

  async close(): Promise<void> {
    await this.database.$disconnect();
  }

  #going(where: Prisma.RecordingWhereInput): Promise<RecordingRow[]> {
    return this.database.recording.findMany({
      where: { ...where, wanted: true, state: { in: [...GOING] } },
      orderBy: { splitIndex: 'asc' },
    });
  }
}

/** The recording, if the principal may record its stream. Throws NOT_FOUND otherwise, as if it didn't exist. */
export const permittedRecording = async (
  store: Pick<RecordingStore, 'find'>,
  principal: Principal,
  id: string,
): Promise<RecordingRow> => {
  const row = await store.find(id);
  if (row === undefined || !permits(principal, 'record', row.tenant, row.streamName))
    throw new WeirError(ErrorCode.NOT_FOUND, 'There is no such recording');
  return row;
};

/** A recording that no longer runs gives up its claim. */
const claimAfter = ({ state }: RecordingChange): { claim?: null } =>
  state === undefined || GOING.some((going) => going === state) ? {} : { claim: null };

const dataOf = (
  { destination, labels, ...recording }: NewRecording,
  lease: { readonly owner: string | null; readonly epoch: bigint },
): Prisma.RecordingCreateInput => ({
  ...recording,
  ...lease,
  ...(destination !== undefined && { destination }),
  ...(labels !== undefined && { labels }),
});
