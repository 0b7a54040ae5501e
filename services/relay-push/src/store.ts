import { createHash } from 'node:crypto';
import path from 'node:path';
import type { CredentialRef } from '@weir/access';
import type { Logger } from '@weir/platform';
import { migratedAdapter } from '@weir/platform/database';
import { Prisma, PrismaClient, type Relay as RelayRow } from './generated/client.js';
import type { RelayPhase, RelayStatus } from './relay.js';

export type { RelayRow };
export type Direction = 'push' | 'pull';

export interface RelayRequest {
  readonly tenant: string;
  readonly direction: Direction;
  readonly uri: string;
  readonly localStreamName: string;
  readonly remoteStreamName: string;
  /** The credential of the request. The relay ends when this credential ends. */
  readonly credential?: CredentialRef | undefined;
}

const SCHEMA = 'relay_push';
const MIGRATIONS = path.resolve(import.meta.dirname, '../prisma/migrations');
export const STATES = {
  new: 'NEW',
  running: 'RUNNING',
  waiting: 'WAITING',
  failed: 'FAILED',
} as const satisfies Record<RelayPhase, RelayRow['state']>;

/** The lease under which an instance runs the relay. */
export interface RelayLease {
  readonly owner: string;
  readonly epoch: bigint;
}

/** Only one relay may publish a name on the other server or here; this is the key that makes that unique. */
const claimOf = ({ tenant, direction, uri, localStreamName, remoteStreamName }: RelayRequest): string => {
  const claimed = direction === 'push' ? [uri, remoteStreamName] : [localStreamName];
  return createHash('sha256')
    .update(JSON.stringify([tenant, direction, ...claimed]))
    .digest('base64url');
};

/** The relays in the database. */
export class RelayStore {
  private constructor(private readonly database: PrismaClient) {}

  /** Waits for the database and migrates its tables. */
  static async open(url: string, log: Pick<Logger, 'info' | 'warn'>): Promise<RelayStore> {
    return new RelayStore(
      new PrismaClient({ adapter: await migratedAdapter({ url, schema: SCHEMA }, MIGRATIONS, log) }),
    );
  }

  async ping(): Promise<void> {
    await this.database.$queryRaw`SELECT 1`;
  }

  /** @returns undefined if a live relay already has the name */
  async add(id: string, request: RelayRequest, lease: RelayLease): Promise<RelayRow | undefined> {
    const { credential, ...named } = request;
    const same = { ...named, direction: request.direction === 'push' ? ('PUSH' as const) : ('PULL' as const) };
    try {
      const row = await this.database.relay.create({
        data: { id, ...same, claim: claimOf(request), ...lease, ...(credential && { credential: { ...credential } }) },
      });
      // The list shows the new relay, not the earlier failure of the same one.
      await this.database.relay.deleteMany({ where: { ...same, state: 'FAILED' } });
      return row;
    } catch (error) {
      if (error instanceof Prisma.PrismaClientKnownRequestError && error.code === 'P2002') return undefined;
      throw error;
    }
  }

  /** The relays of one tenant, oldest first. */
  list(tenant: string): Promise<RelayRow[]> {
    return this.database.relay.findMany({ where: { tenant }, orderBy: [{ createdAt: 'asc' }, { id: 'asc' }] });
  }

  /** The relays that an instance must run or end. */
  live(): Promise<RelayRow[]> {
    return this.database.relay.findMany({ where: { OR: [{ state: { not: 'FAILED' } }, { wanted: false }] } });
  }

  /** @returns undefined if another instance has taken the relay or somebody has removed it since the row was read */
  async take({ id, epoch }: RelayRow, lease: RelayLease): Promise<RelayRow | undefined> {
    const { count } = await this.database.relay.updateMany({ where: { id, epoch }, data: { ...lease } });
    if (count === 0) return undefined;
    return (await this.database.relay.findFirst({ where: { id, epoch: lease.epoch } })) ?? undefined;
  }

  /** Does nothing if another instance has taken the relay. */
  async save(id: string, epoch: bigint, { phase, notCarried: _, ...status }: RelayStatus): Promise<void> {
    const data = { ...status, state: STATES[phase], ...(phase === 'failed' ? { claim: null } : {}) };
    await this.database.relay.updateMany({ where: { id, epoch }, data });
  }

  /** Does nothing if another instance has taken the relay. */
  async remove(id: string, epoch: bigint): Promise<void> {
    await this.database.relay.deleteMany({ where: { id, epoch } });
  }

  async unwant(ids: readonly string[]): Promise<void> {
    await this.database.relay.updateMany({ where: { id: { in: [...ids] } }, data: { wanted: false } });
  }

  /** @returns how many of the relays are still stored */
  async remaining(ids: readonly string[]): Promise<number> {
    return this.database.relay.count({ where: { id: { in: [...ids] } } });
  }

  async forgetFailed(before: Date): Promise<void> {
    await this.database.relay.deleteMany({ where: { state: 'FAILED', updatedAt: { lt: before } } });
  }

  async close(): Promise<void> {
    await this.database.$disconnect();
  }
}
