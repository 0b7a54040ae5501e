import { MESSAGE_KEPT_MS } from '@weir/protocol-topvdn';
import { z } from 'zod';
import { Prisma, type PrismaClient } from './generated/client.js';

export type Transaction = Prisma.TransactionClient;

/** A message to keep until its device acknowledges it. */
export interface NewMessage {
  /** Unique for ever. */
  readonly id: string;
  readonly to: number;
  /** The device that sends it; 0 for an application's server. */
  readonly from: number;
  /** Base64, as it was pushed. */
  readonly msg: string;
}

export interface StoredMessage extends NewMessage {
  /** Grows with every message for the device. */
  readonly place: bigint;
  readonly ageMs: number;
}

/** Messages that are stored together or not at all. */
export interface Addition {
  readonly messages: readonly NewMessage[];
  /** The caller's own name of the push. A push whose name is known is not stored again. */
  readonly push: { readonly appId: string; readonly id: string } | undefined;
}

/** A message that was stored just now, with the app to which its device belongs. */
export type AddedMessage = StoredMessage & { readonly appId: string };

export type Added =
  /** The messages for each device in their order. */
  | { readonly tag: 'added'; readonly messages: readonly AddedMessage[] }
  /** The push was stored before. */
  | { readonly tag: 'known' }
  /** These devices have too many messages already; nothing was stored. */
  | { readonly tag: 'full'; readonly cids: readonly number[] };

/** A device that an app wants to be woken. */
export interface Wakeable {
  readonly cid: number;
  readonly appId: string;
}

const PURGED_AT_ONCE = 10_000;

const numberRow = z.object({ cid: z.bigint().transform(Number) });
const addedRow = z.object({
  full: z.array(z.bigint()),
  known: z.boolean(),
  stored: z.array(z.object({ id: z.string(), place: z.string().transform(BigInt), appId: z.string() })),
});
const messageRow = z.object({
  id: z.string(),
  place: z.bigint(),
  sender: z.bigint().transform(Number),
  msg: z.string(),
  ageMs: z.number(),
});
const wakeableRow = numberRow.extend({ appId: z.string() });

/** The begin of the time for which messages are kept, by the database's clock, which alone decides. */
const KEPT_FROM = Prisma.sql`now() - ${MESSAGE_KEPT_MS}::float8 * interval '1 millisecond'`;

/** The messages that their devices haven't acknowledged yet, in the database. */
export class MessageStore {
  /** @param maxPerDevice so many messages wait for one device; a few more if they are pushed at the same time */
  constructor(
    private readonly database: PrismaClient,
    private readonly maxPerDevice: number,
  ) {}

  transaction<Result>(work: (transaction: Transaction) => Promise<Result>): Promise<Result> {
    return this.database.$transaction(work);
  }

  /**
   * Stores the messages. When two calls store messages for one device, the second waits for the first, so a message is
   * never visible before one with an earlier place.
   */
  async add({ messages, push }: Addition, database: Pick<Transaction, '$queryRaw'> = this.database): Promise<Added> {
    const rows = await database.$queryRaw`
      WITH pushed AS (
             SELECT * FROM unnest(${messages.map(({ to }) => BigInt(to))}::bigint[],
                                  ${messages.map(({ id }) => id)}::text[],
                                  ${messages.map(({ from }) => BigInt(from))}::bigint[],
                                  ${messages.map(({ msg }) => msg)}::text[])
                      WITH ORDINALITY AS p(cid, id, sender, msg, n)),
           counted AS (SELECT cid, count(*) AS added FROM pushed GROUP BY cid),
           full_device AS (
             SELECT cid FROM counted
              WHERE added + (SELECT count(*) FROM "DeviceMessage" m
                              WHERE m.cid = counted.cid AND m."createdAt" > ${KEPT_FROM}) > ${this.maxPerDevice}),
           named AS (
             INSERT INTO "MessagePush" ("appId", id)
             SELECT ${push?.appId ?? null}::text, ${push?.id ?? null}::text
              WHERE ${push !== undefined} AND NOT EXISTS (SELECT FROM full_device)
                 ON CONFLICT DO NOTHING RETURNING id),
           allowed AS (
             SELECT 1 WHERE NOT EXISTS (SELECT FROM full_device) AND (${push === undefined} OR EXISTS (SELECT FROM named))),
           queue AS (
             INSERT INTO "MessageQueue" AS q (cid, last)
             SELECT cid, added FROM counted WHERE EXISTS (SELECT FROM allowed) ORDER BY cid
                 ON CONFLICT (cid) DO UPDATE SET last = q.last + excluded.last RETURNING cid, last),
           stored AS (
             INSERT INTO "DeviceMessage" (cid, place, id, sender, msg, "appId")
             SELECT cid, queue.last - added + row_number() OVER (PARTITION BY cid ORDER BY n), id, sender, msg, r."appId"
               FROM pushed JOIN counted USING (cid) JOIN queue USING (cid)
               JOIN "CidRange" r ON cid BETWEEN r.first AND r.last
             RETURNING id, place, "appId")
      SELECT ARRAY(SELECT cid FROM full_device) AS full, NOT EXISTS (SELECT FROM allowed) AS known,
             (SELECT coalesce(json_agg(json_build_object('id', id, 'place', place::text, 'appId', "appId") ORDER BY place), '[]')
                FROM stored) AS stored`;
    const [{ full, known, stored }] = z.tuple([addedRow]).parse(rows);
    if (full.length > 0) return { tag: 'full', cids: full.map(Number) };
    if (known) return { tag: 'known' };
    const pushed = new Map(messages.map((message) => [message.id, message]));
    return {
      tag: 'added',
      messages: stored.flatMap(({ id, ...at }) => {
        const message = pushed.get(id);
        return message === undefined ? [] : [{ ...message, ...at, ageMs: 0 }];
      }),
    };
  }

  /** The oldest messages for a device after a place, in their order. */
  async read(device: Wakeable, after: bigint, limit: number): Promise<StoredMessage[]> {
    const rows = await this.database.$queryRaw`
      SELECT id, place, sender, msg, extract(epoch FROM now() - "createdAt")::float8 * 1000 AS "ageMs"
        FROM "DeviceMessage"
       WHERE cid = ${BigInt(device.cid)} AND "appId" = ${device.appId} AND place > ${after}
         AND "createdAt" > ${KEPT_FROM}
       ORDER BY place LIMIT ${limit}`;
    return z
      .array(messageRow)
      .parse(rows)
      .map(({ sender, ...message }) => ({ ...message, from: sender, to: device.cid }));
  }

  /** Forgets messages that their devices have acknowledged. */
  async remove(acknowledged: readonly { readonly cid: number; readonly id: string }[]): Promise<void> {
    await this.database.$executeRaw`
      DELETE FROM "DeviceMessage" m
       USING unnest(${acknowledged.map(({ cid }) => BigInt(cid))}::bigint[],
                    ${acknowledged.map(({ id }) => id)}::text[]) AS a(cid, id)
       WHERE m.id = a.id AND m.cid = a.cid`;
  }

  /** The devices for which messages were stored in the last milliseconds. */
  async recent(withinMs: number): Promise<number[]> {
    const rows = await this.database.$queryRaw`
      SELECT DISTINCT cid FROM "DeviceMessage"
       WHERE "createdAt" > now() - ${withinMs}::float8 * interval '1 millisecond'`;
    return z
      .array(numberRow)
      .parse(rows)
      .map(({ cid }) => cid);
  }

  /** Whether the message waits for its device's acknowledgement. */
  async isStored(id: string): Promise<boolean> {
    return (await this.database.deviceMessage.count({ where: { id } })) > 0;
  }

  /** Those of the devices whose apps want them woken. */
  async wakeable(cids: readonly number[]): Promise<Wakeable[]> {
    const rows = await this.database.$queryRaw`
      SELECT cid, a.id AS "appId" FROM unnest(${cids.map(BigInt)}::bigint[]) AS c(cid)
        JOIN "CidRange" r ON cid BETWEEN r.first AND r.last
        JOIN "App" a ON a.id = r."appId" WHERE a."wakeHook" <> ''`;
    return z.array(wakeableRow).parse(rows);
  }

  /** Forgets some of the messages and of the names of pushes that are too old. */
  async purge(): Promise<void> {
    await this.database.$executeRaw`
      DELETE FROM "DeviceMessage" WHERE (cid, place) IN (
        SELECT cid, place FROM "DeviceMessage" WHERE "createdAt" <= ${KEPT_FROM} LIMIT ${PURGED_AT_ONCE})`;
    await this.database.$executeRaw`
      DELETE FROM "MessagePush" WHERE ("appId", id) IN (
        SELECT "appId", id FROM "MessagePush" WHERE "createdAt" <= ${KEPT_FROM} LIMIT ${PURGED_AT_ONCE})`;
  }
}
