import { timingSafeEqual } from 'node:crypto';
import path from 'node:path';
import { ErrorCode, WeirError } from '@weir/contracts';
import type { Logger } from '@weir/platform';
import { migratedAdapter } from '@weir/platform/database';
import { z } from 'zod';
import { Prisma, PrismaClient, type App as AppRow, type CidRange as CidRangeRow } from './generated/client.js';

export type Transaction = Prisma.TransactionClient;

const SCHEMA = 'call_broker';
const MIGRATIONS = path.resolve(import.meta.dirname, '../prisma/migrations');

/** Both ends belong to the range. */
export interface CidRange {
  readonly begin: number;
  readonly end: number;
  /** 1: the devices push; 2: they only view. */
  readonly usage: 1 | 2;
}

/** An application server of a tenant. */
export interface App {
  readonly id: string;
  /** Signs the tokens of the app's devices. */
  readonly key: string;
  readonly tenant: string;
  /** In ascending order. */
  readonly ranges: readonly CidRange[];
  /** Empty: nobody. */
  readonly webhook: string;
  /** Empty: nobody. */
  readonly stateWebhook: string;
  /** Called for a device that a message can't reach; empty: nobody. */
  readonly wakeHook: string;
  readonly createdAt: Date;
}

export type NewApp = Pick<App, 'id' | 'key' | 'tenant' | 'ranges'> & { readonly demo?: boolean };
export type AppChange = Partial<Pick<App, 'key' | 'ranges' | 'webhook' | 'stateWebhook' | 'wakeHook'>>;

const withRanges = { ranges: { orderBy: { first: 'asc' } } } as const;
type RangeRow = Pick<CidRangeRow, 'usage'> & Readonly<Record<'first' | 'last', bigint | number>>;
type Row = Omit<AppRow, 'demo'> & { readonly ranges: readonly RangeRow[] };

const appRow = z.object({
  ...{ id: z.string(), key: z.string(), tenant: z.string(), createdAt: z.date() },
  ...{ webhook: z.string(), stateWebhook: z.string(), wakeHook: z.string() },
  ranges: z.array(z.object({ first: z.number(), last: z.number(), usage: z.number() })),
}) satisfies z.ZodType<Row>;

const appOf = ({ ranges, id, key, tenant, webhook, stateWebhook, wakeHook, createdAt }: Row): App => ({
  ...{ id, key, tenant, webhook, stateWebhook, wakeHook, createdAt },
  ranges: ranges.map(({ first, last, usage }) => ({
    begin: Number(first),
    end: Number(last),
    usage: usage === 2 ? 2 : 1,
  })),
});

const rowsOf = (ranges: readonly CidRange[]) =>
  ranges.map(({ begin, end, usage }) => ({ first: BigInt(begin), last: BigInt(end), usage }));

/** The apps with the devices that belong to them, in the database. */
export class AppStore {
  private constructor(readonly database: PrismaClient) {}

  /** Waits for the database and migrates its tables. */
  static async open(url: string, log: Pick<Logger, 'info' | 'warn'>): Promise<AppStore> {
    const adapter = await migratedAdapter({ url, schema: SCHEMA }, MIGRATIONS, log);
    return new AppStore(new PrismaClient({ adapter }));
  }

  async ping(): Promise<void> {
    await this.database.$queryRaw`SELECT 1`;
  }

  find(id: string): Promise<App | undefined> {
    return this.#read(Prisma.sql`a.id = ${id}`);
  }

  /** The app that has this key. */
  async authenticate(id: string, key: string): Promise<App | undefined> {
    const app = await this.find(id);
    return app !== undefined && isSame(app.key, key) ? app : undefined;
  }

  /** The app whose range has the device. */
  ownerOf(cid: number): Promise<App | undefined> {
    return this.#read(Prisma.sql`
      a.id = (SELECT "appId" FROM "CidRange" WHERE int8range(first, last, '[]') @> ${BigInt(cid)}::bigint)`);
  }

  /** In the order of their ids. */
  async list(tenant: string, limit: number, after = ''): Promise<App[]> {
    const rows = await this.database.app.findMany({
      where: { tenant, id: { gt: after } },
      orderBy: { id: 'asc' },
      take: limit,
      include: withRanges,
    });
    return rows.map(appOf);
  }

  /** @throws ALREADY_EXISTS if another app has the id or a part of the ranges */
  async create({ ranges, ...app }: NewApp): Promise<App> {
    const data = { ...app, ranges: { create: rowsOf(ranges) } };
    return appOf(await orTaken(this.database.app.create({ data, include: withRanges })));
  }

  /**
   * @returns undefined if there is no such app
   * @throws ALREADY_EXISTS if another app has a part of the ranges
   */
  async change(id: string, { ranges, ...change }: AppChange): Promise<App | undefined> {
    const data = {
      ...change,
      ...(ranges !== undefined && { ranges: { deleteMany: {}, create: rowsOf(ranges) } }),
    };
    try {
      const changing = this.database.$transaction(async (transaction) => {
        const row = await transaction.app.update({ where: { id }, data, include: withRanges });
        if (ranges !== undefined) await forgetDevicesWithoutApp(transaction);
        return row;
      });
      return appOf(await orTaken(changing));
    } catch (error) {
      if (error instanceof Prisma.PrismaClientKnownRequestError && error.code === 'P2025') return undefined;
      throw error;
    }
  }

  /** Those of the devices for which their owners let the app act. */
  async grantedTo(appId: string, cids: readonly number[]): Promise<ReadonlySet<number>> {
    const rows = await this.database.deviceGrant.findMany({ where: { appId, cid: { in: cids.map(BigInt) } } });
    return new Set(rows.map(({ cid }) => Number(cid)));
  }

  /** Lets the apps act for the devices. Idempotent. */
  async grant(cids: readonly number[], appIds: readonly string[]): Promise<void> {
    const data = cids.flatMap((cid) => appIds.map((appId) => ({ cid: BigInt(cid), appId })));
    await this.database.deviceGrant.createMany({ data, skipDuplicates: true });
  }

  /** @param appIds undefined: of all apps */
  async revoke(cids: readonly number[], appIds?: readonly string[]): Promise<void> {
    await this.database.deviceGrant.deleteMany({
      where: { cid: { in: cids.map(BigInt) }, ...(appIds !== undefined && { appId: { in: [...appIds] } }) },
    });
  }

  /** Whether all of these are apps of the tenant. */
  async areOfTenant(tenant: string, appIds: readonly string[]): Promise<boolean> {
    const ids = [...new Set(appIds)];
    return (await this.database.app.count({ where: { tenant, id: { in: ids } } })) === ids.length;
  }

  /** The keys that sign the devices' tokens. Devices without an app are left out. */
  async keysOf(cids: readonly number[]): Promise<ReadonlyMap<number, string>> {
    const rows = await this.database.$queryRaw`
      SELECT cid, a.key FROM unnest(${cids.map(BigInt)}::bigint[]) AS c(cid)
        JOIN "CidRange" r ON cid BETWEEN r.first AND r.last JOIN "App" a ON a.id = r."appId"`;
    return new Map(
      z
        .array(keyRow)
        .parse(rows)
        .map(({ cid, key }) => [cid, key]),
    );
  }

  /** Notes that these devices exist. Those without an app are left out. */
  async seen(cids: readonly number[]): Promise<void> {
    await this.database.$executeRaw`
      INSERT INTO "Device" (cid) SELECT DISTINCT cid FROM unnest(${cids.map(BigInt)}::bigint[]) AS c(cid)
        JOIN "CidRange" r ON cid BETWEEN r.first AND r.last
        ON CONFLICT (cid) DO UPDATE SET "seenAt" = now()`;
  }

  /** The devices that were seen and for which the app may act, in ascending order, and how many there are. */
  async devicesOf(
    appId: string,
    skip: number,
    limit: number,
  ): Promise<{ readonly found: readonly number[]; readonly total: number }> {
    const of = Prisma.sql`
      FROM "Device" d WHERE EXISTS (
          SELECT 1 FROM "CidRange" r WHERE r."appId" = ${appId} AND d.cid BETWEEN r.first AND r.last)
        OR EXISTS (SELECT 1 FROM "DeviceGrant" g WHERE g."appId" = ${appId} AND g.cid = d.cid)`;
    const [rows, counts] = await Promise.all([
      this.database.$queryRaw`SELECT d.cid ${of} ORDER BY d.cid OFFSET ${skip} LIMIT ${limit}`,
      this.database.$queryRaw`SELECT count(*) AS total ${of}`,
    ]);
    const [{ total } = { total: 0 }] = z.array(z.object({ total: numberColumn })).parse(counts);
    return {
      found: z
        .array(z.object({ cid: numberColumn }))
        .parse(rows)
        .map(({ cid }) => cid),
      total,
    };
  }

  async remove(id: string): Promise<void> {
    await this.#remove({ id });
  }

  /** Removes what a single machine has made, except the app with the id `kept`. */
  async removeDemo(kept?: string): Promise<number> {
    const where = { demo: true, ...(kept !== undefined && { id: { not: kept } }) };
    return this.#remove(where);
  }

  async close(): Promise<void> {
    await this.database.$disconnect();
  }

  /** An app with its ranges in one query: every push needs one, and every device that connects. */
  async #read(which: Prisma.Sql): Promise<App | undefined> {
    const rows = await this.database.$queryRaw`
      SELECT a.id, a.key, a.tenant, a.webhook, a."stateWebhook", a."wakeHook", a."createdAt",
             (SELECT coalesce(json_agg(json_build_object('first', first, 'last', last, 'usage', usage) ORDER BY first), '[]')
                FROM "CidRange" WHERE "appId" = a.id) AS ranges
        FROM "App" a WHERE ${which}`;
    const [row] = z.array(appRow).parse(rows);
    return row && appOf(row);
  }

  #remove(where: Prisma.AppWhereInput): Promise<number> {
    return this.database.$transaction(async (transaction) => {
      const { count } = await transaction.app.deleteMany({ where });
      if (count > 0) await forgetDevicesWithoutApp(transaction);
      return count;
    });
  }
}

/** A device that gets another app later begins anew: the app learns nothing of its past, and no earlier grant counts. */
const forgetDevicesWithoutApp = async (transaction: Transaction): Promise<void> => {
  for (const table of ['Device', 'DeviceGrant', 'Cover', 'DeviceMessage'].map((name) => Prisma.raw(`"${name}"`)))
    await transaction.$executeRaw`
      DELETE FROM ${table} d WHERE NOT EXISTS (SELECT 1 FROM "CidRange" r WHERE d.cid BETWEEN r.first AND r.last)`;
};

const numberColumn = z.bigint().transform(Number);
const keyRow = z.object({ cid: numberColumn, key: z.string() });

/** Takes the same time wherever two keys differ, so the time reveals nothing about the key. */
const isSame = (known: string, given: string): boolean => {
  const [wanted, offered] = [Buffer.from(known), Buffer.from(given)];
  return wanted.length === offered.length && timingSafeEqual(wanted, offered);
};

const orTaken = async <Value>(writing: Promise<Value>): Promise<Value> => {
  try {
    return await writing;
  } catch (cause) {
    if (!isTaken(cause)) throw cause;
    throw new WeirError(ErrorCode.ALREADY_EXISTS, 'Another app has this id or a part of these ranges', {}, { cause });
  }
};

/** PostgreSQL: exclusion_violation; Prisma has no code of its own for it. */
const EXCLUSION_VIOLATION = '23P01';

const isTaken = (error: unknown): boolean =>
  (error instanceof Prisma.PrismaClientKnownRequestError && error.code === 'P2002') ||
  (error instanceof Error && error.message.includes('CidRange_no_overlap')) ||
  (error instanceof Error && error.message.includes(EXCLUSION_VIOLATION));
