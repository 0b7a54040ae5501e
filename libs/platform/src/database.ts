import { readFile, readdir } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { PrismaPg } from '@prisma/adapter-pg';
import {
  bindMigrationAwareSqlAdapterFactory,
  isDriverAdapterError,
  type SqlDriverAdapter,
  type SqlMigrationAwareDriverAdapterFactory,
  type SqlQuery,
  type SqlQueryable,
} from '@prisma/driver-adapter-utils';
import { ErrorCode, isWeirError, WeirError } from '@weir/contracts';
import { backOffMs } from '@weir/timing';
import type { Logger } from './logger.js';

/** A service's own part of the database that several services share: one PostgreSQL schema. */
export interface ServiceDatabase {
  /** `postgresql://user:password@host:port/database`; a `schema` parameter in it is ignored. */
  readonly url: string;
  /** Lower-case letters, digits and `_`. The schema's tables belong to one service alone. */
  readonly schema: string;
}

export interface MigrationOptions {
  /** How long to wait for a database that can't be reached yet. Default 60 s. */
  readonly waitMs?: number;
  readonly onWait?: (error: unknown, nextTryMs: number) => void;
}

const WAIT_MS = 60_000;
const RETRY_PACE = { firstMs: 100, maxMs: 2_000 };
const CONNECT_TIMEOUT_MS = 5_000;
/** For how long this process waits while another process migrates. */
const LOCK_TIMEOUT_MS = 120_000;
/** An arbitrary number, the same in every service, so that migrations of one database run one after another. */
export const MIGRATION_LOCK = 7_741_001;
const SCHEMA_NAME = /^[a-z_][a-z0-9_]{0,62}$/;
const NO_FILTERS = { externalTables: [], externalEnums: [] };

/** Errors of a network that isn't up yet, for which Prisma's adapter has no kind. */
const TRANSIENT_CODES = new Set([
  ...['EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH', 'EPIPE', 'ETIMEDOUT'],
  ...['ECONNREFUSED', 'ECONNRESET', 'ENOTFOUND'],
]);
/** Prisma: P1xxx are errors of the connection; no connection is left (P2024, P2037), or none for a transaction in time (P2028). */
const CLIENT_CODES = /^P1\d{3}$|^P2024$|^P2028$|^P2037$/;
/** The driver's own errors have no code, only a message. */
const CONNECTION_MESSAGES =
  /^Connection terminated|^timeout exceeded when trying to connect|Client has encountered a connection error|Client was closed and is not queryable/;
const TRANSIENT_KINDS = new Set(['DatabaseNotReachable', 'ConnectionClosed', 'SocketTimeout', 'TooManyConnections']);
/** PostgreSQL's class of errors about values: a number that is too large, a NUL in a text and so on. */
const DATA_EXCEPTIONS = /^22/;
/** Prisma: too long, invalid, out of range, not a 64-bit integer. */
const UNSTORABLE_CODES = new Set(['P2000', 'P2007', 'P2020', 'P2033']);
/** PostgreSQL: cannot_connect_now, admin_shutdown, crash_shutdown. */
const TRANSIENT_STATES = new Set(['57P03', '57P01', '57P02']);
/** PostgreSQL: disk_full, out_of_memory, io_error. */
const FULL_STATES = new Set(['53100', '53200', '58030']);

/**
 * The adapter for a Prisma client whose tables exist. It opens connections when they are needed and replaces broken ones.
 */
export const databaseAdapter = (
  { url, schema }: ServiceDatabase,
  options: { readonly maxConnections?: number } = {},
): PrismaPg => {
  if (!SCHEMA_NAME.test(schema)) throw new RangeError(`Not a usable schema name: ${schema}`);
  return new PrismaPg(
    {
      connectionString: url,
      options: `-c search_path=${schema}`,
      connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
      max: options.maxConnections ?? 10,
    },
    { schema },
  );
};

/**
 * Brings the service's schema up to date with Prisma's schema engine and returns the names of the migrations that it
 * applied. Processes that start together take turns, and the second finds nothing left to do. A start that finds nothing
 * to do takes no turn and doesn't load the engine.
 * It waits for a database that can't be reached; on wrong credentials or a failing migration it throws at once.
 */
export const migrateDatabase = async (
  database: ServiceDatabase,
  migrationsDir: string,
  options: MigrationOptions = {},
): Promise<readonly string[]> => {
  // One connection that stays open while idle, because it holds the lock.
  const turn = await new PrismaPg({
    connectionString: database.url,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    idleTimeoutMillis: 0,
    max: 1,
  }).connect();
  try {
    const names = await migrationNames(migrationsDir);
    if (await whenReachable(() => areApplied(turn, database.schema, names), options)) return [];
    await turn.executeRaw(statement(`SET lock_timeout = ${LOCK_TIMEOUT_MS}`));
    await turn.executeRaw(statement(`SELECT pg_advisory_lock(${MIGRATION_LOCK})::text`));
    await turn.executeRaw(statement(`CREATE SCHEMA IF NOT EXISTS "${database.schema}"`));
    return await applyMigrations(databaseAdapter(database, { maxConnections: 1 }), migrationsDir);
  } finally {
    await turn.dispose();
  }
};

/** Whether the schema has all of the migrations. False also if one has failed: the engine names it. */
async function areApplied(connection: SqlQueryable, schema: string, names: readonly string[]): Promise<boolean> {
  const table = `"${schema}"."_prisma_migrations"`;
  const exists = await connection.queryRaw(statement(`SELECT to_regclass('${table}') IS NOT NULL`));
  if (exists.rows[0]?.[0] !== true) return false;
  const { rows } = await connection.queryRaw(
    statement(`SELECT migration_name, finished_at IS NOT NULL FROM ${table} WHERE rolled_back_at IS NULL`),
  );
  const applied = new Set(rows.map(([name]) => name));
  return rows.every(([, isFinished]) => isFinished === true) && names.every((name) => applied.has(name));
}

/**
 * Waits for the database, brings the service's schema up to date, and returns the adapter for its Prisma client:
 * `new PrismaClient({ adapter: await migratedAdapter({ url, schema: 'auth' }, MIGRATIONS, log) })`.
 */
export const migratedAdapter = async (
  database: ServiceDatabase,
  migrationsDir: string,
  log: Pick<Logger, 'info' | 'warn'>,
): Promise<PrismaPg> => {
  const applied = await migrateDatabase(database, migrationsDir, {
    onWait: (err, nextTryMs) => log.warn({ err, nextTryMs }, 'the database can’t be reached yet'),
  });
  if (applied.length > 0) log.info({ applied }, 'database migrated');
  return databaseAdapter(database);
};

const statement = (sql: string): SqlQuery => ({ sql, args: [], argTypes: [] });

async function whenReachable<T>(attempt: () => Promise<T>, options: MigrationOptions): Promise<T> {
  const giveUpAtMs = performance.now() + (options.waitMs ?? WAIT_MS);
  for (let retries = 0; ; retries++) {
    const retryMs = backOffMs(RETRY_PACE, retries);
    try {
      return await attempt();
    } catch (error) {
      if (!isTransient(error) || performance.now() + retryMs > giveUpAtMs) throw error;
      options.onWait?.(error, retryMs);
      await sleep(retryMs);
    }
  }
}

/**
 * Turns an error of a Prisma client into a WeirError: UNAVAILABLE if the database can't be reached now or has no room
 * to write, INVALID if it can't store a value. Any other error is returned unchanged.
 */
export const asWeirError = (error: unknown): unknown => {
  const unavailable = (message: string) => new WeirError(ErrorCode.UNAVAILABLE, message, {}, { cause: error });
  if (FULL_STATES.has(sqlStateOf(error)))
    return unavailable("The database can't write now: its disk or memory is full");
  if (isTransient(error)) return unavailable("The database can't be reached now; try again later");
  return isUnstorable(error)
    ? new WeirError(ErrorCode.INVALID, "A value is too large, or a text can't be stored", {}, { cause: error })
    : error;
};

/** The SQLSTATE of an error that comes from PostgreSQL; empty for any other error. */
function sqlStateOf(error: unknown): string {
  if (typeof error !== 'object' || error === null) return '';
  if (isDriverAdapterError(error)) return error.cause.originalCode ?? '';
  const { meta } = error as { meta?: { driverAdapterError?: unknown } };
  return meta?.driverAdapterError === undefined ? '' : sqlStateOf(meta.driverAdapterError);
}

const isUnstorable = (error: unknown): boolean =>
  DATA_EXCEPTIONS.test(sqlStateOf(error)) ||
  (error instanceof Error && 'code' in error && UNSTORABLE_CODES.has(String(error.code)));

function isTransient(error: unknown): boolean {
  if (typeof error !== 'object' || error === null || isWeirError(error)) return false;
  if (isDriverAdapterError(error)) {
    const { cause } = error;
    return TRANSIENT_KINDS.has(cause.kind) || TRANSIENT_STATES.has(cause.originalCode ?? '');
  }
  if (!(error instanceof Error)) return false;
  if ('code' in error && (TRANSIENT_CODES.has(String(error.code)) || CLIENT_CODES.test(String(error.code))))
    return true;
  if (error.name === 'PrismaClientInitializationError' || CONNECTION_MESSAGES.test(error.message)) return true;
  const { meta } = error as { meta?: { driverAdapterError?: unknown } };
  return isTransient(meta?.driverAdapterError);
}

async function applyMigrations(adapter: PrismaPg, migrationsDir: string): Promise<readonly string[]> {
  const migrationsList = await readMigrations(migrationsDir);
  return withSchemaEngine(adapter, EMPTY_SCHEMA, async (engine) => {
    const { appliedMigrationNames } = await engine.applyMigrations({ migrationsList, filters: NO_FILTERS });
    return appliedMigrationNames;
  });
}

/**
 * The SQL that changes the tables of one Prisma schema into those of another: the text of a new migration. Without
 * `from`, the SQL that creates all tables. For developers and tests. The engine needs a database but changes nothing in
 * it.
 */
export const schemaDifference = async (url: string, from: string | undefined, to: string): Promise<string> => {
  const target = (content: string) => ({
    tag: 'schemaDatamodel' as const,
    files: [{ path: 'schema.prisma', content }],
  });
  return withSchemaEngine(new PrismaPg(url), EMPTY_SCHEMA, async (engine) => {
    const { stdout } = await engine.diff({
      from: from === undefined ? { tag: 'empty' } : target(from),
      to: target(to),
      script: true,
      exitCode: null,
      filters: NO_FILTERS,
    });
    return stdout ?? '';
  });
};

const EMPTY_SCHEMA = { path: 'schema.prisma', content: 'datasource db {\n  provider = "postgresql"\n}\n' };

type SchemaEngine = Awaited<ReturnType<Awaited<ReturnType<typeof loadSchemaEngine>>['new']>>;

async function withSchemaEngine<T>(
  adapter: PrismaPg,
  schema: { readonly path: string; readonly content: string },
  work: (engine: SchemaEngine) => Promise<T>,
): Promise<T> {
  const SchemaEngine = await (schemaEngine ??= loadSchemaEngine());
  const sessions: SqlDriverAdapter[] = [];
  const factory: SqlMigrationAwareDriverAdapterFactory = {
    provider: adapter.provider,
    adapterName: adapter.adapterName,
    connect: () => recorded(adapter.connect(), sessions),
    connectToShadowDb: () => recorded(adapter.connectToShadowDb(), sessions),
  };
  const engine = await SchemaEngine.new(
    { datamodels: [[schema.path, schema.content]] },
    () => undefined,
    bindMigrationAwareSqlAdapterFactory(factory),
  );
  try {
    return await work(engine);
  } finally {
    engine.free();
    // The engine leaves its connections open, and they hold the lock that it took on the whole database.
    await Promise.all(sessions.map((session) => session.dispose()));
  }
}

async function recorded(
  connecting: Promise<SqlDriverAdapter>,
  connected: SqlDriverAdapter[],
): Promise<SqlDriverAdapter> {
  const connection = await connecting;
  connected.push(connection);
  return connection;
}

/** In the order in which they are applied. */
async function migrationNames(migrationsDir: string): Promise<string[]> {
  const entries = await readdir(migrationsDir, { withFileTypes: true });
  return entries
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => name)
    .sort();
}

async function readMigrations(migrationsDir: string) {
  const baseDir = path.resolve(migrationsDir);
  const names = await migrationNames(baseDir);
  const migrationDirectories = await Promise.all(
    names.map(async (name) => {
      const value = await readFile(path.join(baseDir, name, 'migration.sql'), 'utf8');
      return { path: name, migrationFile: { path: 'migration.sql', content: { tag: 'ok' as const, value } } };
    }),
  );
  const lockfile = { path: 'migration_lock.toml', content: 'provider = "postgresql"\n' };
  return { baseDir, lockfile, shadowDbInitScript: '', migrationDirectories };
}

/** The part of the global that is used here; only the DOM's types declare it. */
declare const WebAssembly: {
  instantiate(bytes: Uint8Array, imports: object): Promise<{ instance: { exports: Record<string, unknown> } }>;
};

const ENGINE_MODULE = '@prisma/schema-engine-wasm/schema_engine_bg';

let schemaEngine: ReturnType<typeof loadSchemaEngine> | undefined;

/**
 * Does by hand what the package's own entry does: that entry imports the .wasm file as a module, which Node doesn't
 * support by default. The engine is loaded only for a migration, because it takes some megabytes.
 */
async function loadSchemaEngine() {
  const glue = await import('@prisma/schema-engine-wasm/schema_engine_bg');
  const glueFile = createRequire(import.meta.url).resolve(ENGINE_MODULE);
  const bytes = await readFile(path.join(path.dirname(glueFile), 'schema_engine_bg.wasm'));
  Object.assign(globalThis, { PRISMA_WASM_PANIC_REGISTRY: { set_message: reportPanic } });
  const { instance } = await WebAssembly.instantiate(bytes, { './schema_engine_bg.js': glue });
  const start = instance.exports['__wbindgen_start'];
  if (typeof start !== 'function') throw new Error(`${ENGINE_MODULE} has no __wbindgen_start: an unsupported version`);
  glue.__wbg_set_wasm(instance.exports);
  start();
  return glue.SchemaEngine;
}

function reportPanic(message: string): void {
  process.stderr.write(`prisma schema engine: ${message}\n`);
}
