import { randomUUID } from 'node:crypto';
import path from 'node:path';
import type { Logger } from '@weir/platform';
import { migrateDatabase } from '@weir/platform/database';
import type { Pace } from '@weir/timing';
import pg from 'pg';
import { z } from 'zod';
import type {
  Attempt,
  LeasedMessage,
  ListedMessage,
  ListFilter,
  NewMessage,
  Outcome,
  Replayed,
  ReplayOptions,
} from './message.js';

/** A transaction of the owner's Prisma client, or the client itself. */
export interface Transaction {
  $executeRawUnsafe(sql: string, ...values: unknown[]): PromiseLike<number>;
}

export interface MessageStoreOptions {
  /** `postgresql://user:password@host:port/database` */
  readonly url: string;
  /** The owner's name in lower-case letters, digits and `_`. The tables are in the schema `<owner>_outbox`. */
  readonly owner: string;
  /** The id of this start of the process. */
  readonly instance: string;
  readonly keepTryingMs: number;
  readonly maxConnections: number;
  readonly log: Pick<Logger, 'info' | 'warn'>;
}

/** How a message goes on after an attempt that wasn't its last. */
export interface NextAttempt {
  readonly inMs: number;
  /** The attempt doesn't count: it was broken off because its instance stops. */
  readonly uncounted?: boolean;
}

export interface Leased {
  readonly message: LeasedMessage;
  readonly destination: string;
  readonly lease: string;
}

export interface LeaseWish {
  readonly count: number;
  readonly leaseMs: number;
  /** Messages to these destinations aren't leased. */
  readonly fullDestinations: readonly string[];
}

const MIGRATIONS = path.resolve(import.meta.dirname, '../migrations');
const OWNER = /^[a-z_][a-z0-9_]{0,50}$/;
const CONNECT_TIMEOUT_MS = 5_000;
const STATEMENT_TIMEOUT_MS = 5_000;
/** Longer than the server's own limit, for a server that doesn't answer at all. */
const QUERY_TIMEOUT_MS = 7_000;
const MAX_PAYLOAD_CHARACTERS = 256 * 1024;
const MAX_WORDS = 500;
const MAX_LISTED = 500;
const DEFAULT_LISTED = 100;
/** How many attempts of each message stay in the delivery log. */
const MAX_ATTEMPTS = 200;
const PURGED_AT_ONCE = 1_000;
/** How often a pause grows; more would only overflow. */
const MAX_GROWTHS = 30;

const leasedRow = z.object({
  id: z.string(),
  queue: z.string(),
  key: z.string(),
  scope: z.string(),
  payload: z.string(),
  attempts: z.number(),
  note: z.string().nullable(),
  lease: z.string(),
  last: z.boolean(),
  deaths: z.number(),
  destination: z.string(),
});

const listedRow = z.object({
  id: z.string(),
  place: z.coerce.bigint(),
  queue: z.string(),
  key: z.string(),
  scope: z.string(),
  destination: z.string(),
  state: z.enum(['waiting', 'delivered', 'dead']),
  attempts: z.number(),
  in_progress: z.boolean(),
  note: z.string().nullable(),
  created_at: z.date(),
  due_at: z.date(),
  give_up_at: z.date(),
  ended_at: z.date().nullable(),
});

const attemptRow = z.object({
  message_id: z.string(),
  instance: z.string(),
  started_at: z.date(),
  duration_ms: z.number().nullable(),
  result: z.enum(['delivered', 'retry', 'dead', 'released']).nullable(),
  status: z.number().nullable(),
  words: z.string().nullable(),
});

/** A message without a key waits for no other: its key is its id. */
const keyOf = ({ id, key }: { id: string; key: string }): string | undefined => (key === id ? undefined : key);

const payloadText = (payload: unknown): string => {
  const text = JSON.stringify(payload);
  if (text === undefined) throw new TypeError('A payload is JSON, not undefined');
  if (text.length > MAX_PAYLOAD_CHARACTERS)
    throw new RangeError(`The payload has ${text.length} characters; at most ${MAX_PAYLOAD_CHARACTERS} are stored`);
  return text;
};

/** PostgreSQL stores no NUL. */
const storedWords = (words: string | undefined): string | null =>
  words === undefined ? null : words.replaceAll('\0', '').slice(0, MAX_WORDS);

/**
 * The messages of one owner in PostgreSQL. The database's clock alone decides what is due, so instances needn't agree
 * on the time.
 */
export class MessageStore {
  readonly #pool: pg.Pool;
  readonly #schema: string;
  readonly #message: string;
  readonly #attempt: string;

  private constructor(private readonly options: MessageStoreOptions) {
    this.#schema = `${options.owner}_outbox`;
    this.#message = `"${this.#schema}"."message"`;
    this.#attempt = `"${this.#schema}"."attempt"`;
    this.#pool = new pg.Pool({
      connectionString: options.url,
      max: options.maxConnections,
      connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
      statement_timeout: STATEMENT_TIMEOUT_MS,
      query_timeout: QUERY_TIMEOUT_MS,
    });
    this.#pool.on('error', (err) => options.log.warn({ err }, 'an idle connection to the database was lost'));
  }

  /** Waits for the database and migrates the tables. */
  static async open(options: MessageStoreOptions): Promise<MessageStore> {
    if (!OWNER.test(options.owner)) throw new RangeError(`Not a usable name of an outbox's owner: ${options.owner}`);
    const applied = await migrateDatabase({ url: options.url, schema: `${options.owner}_outbox` }, MIGRATIONS, {
      onWait: (err, nextTryMs) => options.log.warn({ err, nextTryMs }, 'the database can’t be reached yet'),
    });
    if (applied.length > 0) options.log.info({ applied }, 'outbox migrated');
    return new MessageStore(options);
  }

  async ping(): Promise<void> {
    await this.#pool.query('SELECT 1');
  }

  /** Adds the message in the owner's transaction. */
  async add(transaction: Transaction, message: NewMessage): Promise<string> {
    const { id = `msg_${randomUUID()}`, queue, key, scope = '', destination = '', payload } = message;
    const text = payloadText(payload);
    if (key !== undefined) await transaction.$executeRawUnsafe(this.#turnSql('$1'), this.#turn(queue, key));
    await transaction.$executeRawUnsafe(
      `INSERT INTO ${this.#message} (id, queue, key, scope, destination, payload, give_up_at)
       VALUES ($1::text, $2::text, $3::text, $4::text, $5::text, $6::text,
               now() + $7::float8 * interval '1 millisecond')
       ON CONFLICT (id) DO NOTHING`,
      ...[id, queue, key ?? id, scope, destination, text, message.keepTryingMs ?? this.options.keepTryingMs],
    );
    return id;
  }

  /** Adds the message in a transaction of its own. */
  addAlone(message: NewMessage): Promise<string> {
    return this.#inTransaction((client) =>
      this.add(
        {
          $executeRawUnsafe: async (sql, ...values) => (await client.query(sql, values)).rowCount ?? 0,
        },
        message,
      ),
    );
  }

  /**
   * Takes back the messages whose instances no longer renew their leases. After the first death a message is due at
   * once; after each further one its pause grows, because it may be the message that kills instances.
   */
  async takeBack(queue: string, { firstMs, maxMs, factor = 2 }: Pace): Promise<void> {
    await this.#pool.query(
      `UPDATE ${this.#message}
          SET lease = NULL, deaths = deaths + 1,
              due_at = now() + CASE WHEN deaths = 0 THEN 0
                ELSE LEAST($3::float8, $2::float8 * power($4::float8, LEAST(deaths - 1, $5))) * (0.5 + random() / 2)
                END * interval '1 millisecond'
        WHERE queue = $1 AND state = 'waiting' AND lease IS NOT NULL AND due_at <= now()`,
      [queue, firstMs, maxMs, factor, MAX_GROWTHS],
    );
  }

  /**
   * Leases messages that are due. A row that another instance is leasing is skipped. A message waits for the earlier
   * ones with its key.
   */
  async lease(queue: string, { count, leaseMs, fullDestinations }: LeaseWish): Promise<Leased[]> {
    const { rows } = await this.#pool.query(
      `WITH due AS (
         SELECT m.id FROM ${this.#message} m
          WHERE m.queue = $1 AND m.state = 'waiting' AND m.due_at <= now() AND m.lease IS NULL
            AND m.destination <> ALL ($5::text[])
            AND NOT EXISTS (SELECT 1 FROM ${this.#message} e
                             WHERE e.queue = m.queue AND e.key = m.key AND e.state = 'waiting' AND e.place < m.place)
          ORDER BY m.due_at, m.place LIMIT $2 FOR UPDATE OF m SKIP LOCKED),
       leased AS (
         UPDATE ${this.#message} m
            SET lease = gen_random_uuid(), attempts = m.attempts + 1,
                due_at = now() + $3::float8 * interval '1 millisecond'
           FROM due WHERE m.id = due.id RETURNING m.*),
       logged AS (
         INSERT INTO ${this.#attempt} (id, message_id, instance) SELECT lease, id, $4 FROM leased)
       SELECT id, queue, key, scope, destination, payload, attempts, deaths, note, lease, now() >= give_up_at AS last
         FROM leased ORDER BY place`,
      [queue, count, leaseMs, this.options.instance, fullDestinations],
    );
    return z.array(leasedRow).parse(rows).map(leasedOf);
  }

  /** @returns false if the message has another lease, or none */
  async renew({ message, lease }: Leased, leaseMs: number): Promise<boolean> {
    const { rowCount } = await this.#pool.query(
      `UPDATE ${this.#message} SET due_at = now() + $3::float8 * interval '1 millisecond' WHERE id = $1 AND lease = $2`,
      [message.id, lease, leaseMs],
    );
    return rowCount === 1;
  }

  /** @returns false if the message has another lease, or none */
  async note({ message, lease }: Leased, note: string): Promise<boolean> {
    const { rowCount } = await this.#pool.query(`UPDATE ${this.#message} SET note = $3 WHERE id = $1 AND lease = $2`, [
      message.id,
      lease,
      note,
    ]);
    return rowCount === 1;
  }

  /** Writes an attempt's end into the log, and the message's state unless somebody else has leased it meanwhile. */
  async settle(
    { message, lease }: Leased,
    outcome: Outcome,
    durationMs: number,
    next: NextAttempt | undefined,
  ): Promise<void> {
    const state = next !== undefined ? 'waiting' : outcome.tag === 'delivered' ? 'delivered' : 'dead';
    await this.#pool.query(
      `WITH logged AS (
         UPDATE ${this.#attempt} SET duration_ms = $3, result = $4, status = $5, words = $6 WHERE id = $2)
       UPDATE ${this.#message}
          SET state = $7, lease = NULL, attempts = attempts - $8, deaths = 0,
              due_at = CASE WHEN give_up_at > now()
                            THEN LEAST(now() + $9::float8 * interval '1 millisecond', give_up_at)
                            ELSE now() + $9::float8 * interval '1 millisecond' END,
              ended_at = CASE WHEN $7 = 'waiting' THEN NULL ELSE now() END
        WHERE id = $1 AND lease = $2`,
      [
        ...[message.id, lease, Math.round(durationMs), next?.uncounted === true ? 'released' : outcome.tag],
        ...[outcome.status ?? null, storedWords(outcome.words), state, next?.uncounted === true ? 1 : 0],
        next?.inMs ?? 0,
      ],
    );
  }

  async list({ ids, scope, queue, key, state, after, limit = DEFAULT_LISTED }: ListFilter): Promise<ListedMessage[]> {
    const { rows } = await this.#pool.query(
      `SELECT id, place, queue, key, scope, destination, state, attempts, lease IS NOT NULL AS in_progress, note,
              created_at, due_at, give_up_at, ended_at
         FROM ${this.#message}
        WHERE ($1::text IS NULL OR scope = $1) AND ($2::text IS NULL OR queue = $2) AND ($3::text IS NULL OR key = $3)
          AND ($4::text IS NULL OR state = $4) AND ($5::bigint IS NULL OR place > $5)
          AND ($7::text[] IS NULL OR id = ANY ($7))
        ORDER BY place LIMIT $6`,
      [scope, queue, key, state, after?.toString(), Math.min(limit, MAX_LISTED), ids].map((value) => value ?? null),
    );
    return z.array(listedRow).parse(rows).map(listedOf);
  }

  /** The delivery logs of messages by their ids: the last attempts of each, oldest first. */
  async attempts(ids: readonly string[]): Promise<ReadonlyMap<string, readonly Attempt[]>> {
    const { rows } = await this.#pool.query(
      `SELECT message_id, instance, started_at, duration_ms, result, status, words
         FROM (SELECT *, row_number() OVER (PARTITION BY message_id ORDER BY started_at DESC, id DESC) AS back
                 FROM ${this.#attempt} WHERE message_id = ANY ($1::text[])) AS a
        WHERE back <= $2 ORDER BY started_at, id`,
      [ids, MAX_ATTEMPTS],
    );
    const logs = new Map<string, Attempt[]>(ids.map((id) => [id, []]));
    for (const row of z.array(attemptRow).parse(rows)) logs.get(row.message_id)?.push(attemptOf(row));
    return logs;
  }

  /** A delivered or dead message is tried again as if it were new, behind the others with its key. */
  replay(id: string, { scope, payload, destination }: ReplayOptions): Promise<Replayed> {
    const text = payload === undefined ? null : payloadText(payload);
    return this.#inTransaction(async (client) => {
      const found = await client.query(
        `SELECT queue, key, state, lease IS NOT NULL AND due_at > now() AS leased
           FROM ${this.#message} WHERE id = $1 AND ($2::text IS NULL OR scope = $2) FOR UPDATE`,
        [id, scope ?? null],
      );
      const row = replayedRow.optional().parse(found.rows[0]);
      if (row === undefined) return 'unknown';
      if (row.leased) return 'in progress';
      if (row.state === 'waiting') {
        await client.query(
          `UPDATE ${this.#message}
              SET due_at = now(), lease = NULL, payload = COALESCE($2, payload),
                  destination = COALESCE($3, destination)
            WHERE id = $1`,
          [id, text, destination ?? null],
        );
        return 'hastened';
      }
      if (row.key !== id) await client.query(this.#turnSql('$1'), [this.#turn(row.queue, row.key)]);
      await client.query(
        `UPDATE ${this.#message}
            SET state = 'waiting', attempts = 0, deaths = 0, lease = NULL, note = NULL, ended_at = NULL,
                due_at = now(), place = nextval('"${this.#schema}"."place"'),
                payload = COALESCE($2, payload), destination = COALESCE($4, destination),
                give_up_at = now() + $3::float8 * interval '1 millisecond'
          WHERE id = $1`,
        [id, text, this.options.keepTryingMs, destination ?? null],
      );
      return 'replayed';
    });
  }

  /** @returns the number of waiting and of dead messages of each queue, and the age of the oldest */
  async counts(): Promise<z.output<typeof countRow>[]> {
    const { rows } = await this.#pool.query(
      `SELECT queue, state, count(*)::int AS count, extract(epoch FROM now() - min(created_at))::float8 AS "oldestS"
         FROM ${this.#message} WHERE state <> 'delivered' GROUP BY queue, state`,
    );
    return z.array(countRow).parse(rows);
  }

  /** Forgets some of the messages that ended that long ago. @returns whether there may be more */
  async purge(keepMs: number): Promise<void> {
    await this.#pool.query(
      `DELETE FROM ${this.#message} WHERE id IN (
         SELECT id FROM ${this.#message}
          WHERE state <> 'waiting' AND ended_at < now() - $1::float8 * interval '1 millisecond' LIMIT $2)`,
      [keepMs, PURGED_AT_ONCE],
    );
  }

  /** Idempotent. */
  async close(): Promise<void> {
    if (!this.#pool.ending) await this.#pool.end();
  }

  /**
   * A transaction that adds to a key has its turn until it commits. Otherwise a later place could be visible before an
   * earlier one.
   */
  #turnSql(turn: string): string {
    return `SELECT pg_advisory_xact_lock(hashtextextended(${turn}::text, 0))::text`;
  }

  #turn(queue: string, key: string): string {
    return `${this.#schema}/${queue}/${key}`;
  }

  async #inTransaction<Result>(work: (client: pg.PoolClient) => Promise<Result>): Promise<Result> {
    const client = await this.#pool.connect();
    let broken = true;
    try {
      await client.query('BEGIN');
      const result = await work(client);
      await client.query('COMMIT');
      broken = false;
      return result;
    } finally {
      // A connection on which something failed is closed, which ends its transaction.
      client.release(broken);
    }
  }
}

const replayedRow = z.object({
  queue: z.string(),
  key: z.string(),
  state: z.enum(['waiting', 'delivered', 'dead']),
  leased: z.boolean(),
});

const countRow = z.object({
  queue: z.string(),
  state: z.enum(['waiting', 'dead']),
  count: z.number(),
  oldestS: z.number(),
});

const leasedOf = ({ lease, destination, payload, attempts, note, ...row }: z.output<typeof leasedRow>): Leased => ({
  ...{ lease, destination },
  message: {
    ...row,
    key: keyOf(row),
    payload: JSON.parse(payload) as unknown,
    attempt: attempts,
    note: note ?? undefined,
  },
});

const listedOf = (row: z.output<typeof listedRow>): ListedMessage => ({
  id: row.id,
  place: row.place,
  queue: row.queue,
  key: keyOf(row),
  scope: row.scope,
  destination: row.destination,
  state: row.state,
  attempts: row.attempts,
  inProgress: row.in_progress,
  note: row.note ?? undefined,
  createdAt: row.created_at,
  dueAt: row.due_at,
  giveUpAt: row.give_up_at,
  endedAt: row.ended_at ?? undefined,
});

const attemptOf = (row: z.output<typeof attemptRow>): Attempt => ({
  instance: row.instance,
  startedAt: row.started_at,
  durationMs: row.duration_ms ?? undefined,
  result: row.result ?? undefined,
  status: row.status ?? undefined,
  words: row.words ?? undefined,
});
