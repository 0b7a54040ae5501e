import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { startPostgres, type TestServer } from '@weir/testing';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { databaseAdapter, migrateDatabase, MIGRATION_LOCK, schemaDifference } from './database.js';

let postgres: TestServer;
let folder: string;

const migration = async (name: string, sql: string): Promise<void> => {
  await mkdir(path.join(folder, name));
  await writeFile(path.join(folder, name, 'migration.sql'), sql);
};

const rows = async (schema: string, sql: string): Promise<unknown[][]> => {
  const connection = await databaseAdapter({ url: postgres.url, schema }).connect();
  try {
    return (await connection.queryRaw({ sql, args: [], argTypes: [] })).rows;
  } finally {
    await connection.dispose();
  }
};

beforeAll(async () => {
  postgres = await startPostgres();
}, 60_000);

afterAll(() => postgres.stop());

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'weir-migrations-'));
  await migration('0001_robots', 'CREATE TABLE robot (name TEXT PRIMARY KEY);');
  return () => rm(folder, { recursive: true });
});

describe('migrateDatabase', () => {
  test('applies each migration once when several processes start together', async () => {
    await migration('0002_cameras', 'ALTER TABLE robot ADD COLUMN camera TEXT;');
    const database = { url: postgres.url, schema: 'together' };
    const applied = await Promise.all(Array.from({ length: 5 }, () => migrateDatabase(database, folder)));
    expect(applied.flat()).toEqual(['0001_robots', '0002_cameras']);
    expect(await rows('together', 'SELECT name, camera FROM robot')).toEqual([]);
  });

  test('applies only new migrations at the next start', async () => {
    const database = { url: postgres.url, schema: 'next_start' };
    expect(await migrateDatabase(database, folder)).toEqual(['0001_robots']);
    expect(await migrateDatabase(database, folder)).toEqual([]);
    await migration('0002_cameras', 'ALTER TABLE robot ADD COLUMN camera TEXT;');
    expect(await migrateDatabase(database, folder)).toEqual(['0002_cameras']);
  });

  test('finds nothing to do while another process migrates, without waiting for it', async () => {
    const database = { url: postgres.url, schema: 'no_turn' };
    await migrateDatabase(database, folder);
    const migrating = await databaseAdapter(database, { maxConnections: 1 }).connect();
    await migrating.queryRaw({ sql: `SELECT pg_advisory_lock(${MIGRATION_LOCK})::text`, args: [], argTypes: [] });
    expect(await migrateDatabase(database, folder)).toEqual([]);
    await migrating.dispose();
  });

  test('keeps the tables of two services in one database apart', async () => {
    await migrateDatabase({ url: postgres.url, schema: 'first' }, folder);
    await migrateDatabase({ url: `${postgres.url}?schema=first`, schema: 'second' }, folder);
    await rows('first', "INSERT INTO robot VALUES ('r1')");
    expect(await rows('first', 'SELECT name FROM robot')).toEqual([['r1']]);
    expect(await rows('second', 'SELECT name FROM robot')).toEqual([]);
  });

  test('waits for a database that is still starting', async () => {
    await postgres.kill();
    const waits: number[] = [];
    let restarted: Promise<void> | undefined;
    const onWait = (_error: unknown, nextTryMs: number): void => {
      waits.push(nextTryMs);
      restarted ??= postgres.restart();
    };
    const database = { url: postgres.url, schema: 'late' };
    expect(await migrateDatabase(database, folder, { onWait })).toEqual(['0001_robots']);
    await restarted;
    expect(waits[0]).toBe(100);
    expect(Math.max(...waits)).toBeLessThanOrEqual(2_000);
  }, 30_000);

  test('gives up on a database that never comes', async () => {
    const url = 'postgresql://weir:secret@127.0.0.1:1/postgres';
    await expect(migrateDatabase({ url, schema: 'never' }, folder, { waitMs: 250 })).rejects.toThrow(/reach/i);
  });

  test("doesn't wait when the password is wrong", async () => {
    const url = new URL(postgres.url);
    url.password = 'wrong';
    const onWait = (): void => expect.unreachable('there is nothing to wait for');
    await expect(migrateDatabase({ url: url.href, schema: 'denied' }, folder, { onWait })).rejects.toThrow();
  });

  test('stops at a migration that fails, and names it at every later start', async () => {
    await migration('0002_broken', 'ALTER TABLE nowhere ADD COLUMN camera TEXT;');
    await migration('0003_after', 'CREATE TABLE after_it (name TEXT);');
    const database = { url: postgres.url, schema: 'broken' };
    await expect(migrateDatabase(database, folder)).rejects.toThrow(/0002_broken/);
    await expect(migrateDatabase(database, folder)).rejects.toThrow(/0002_broken/);
    expect(await rows('broken', "SELECT to_regclass('after_it')::text")).toEqual([[null]]);
  });
});

test('a schema name that would need quoting is refused', () => {
  expect(() => databaseAdapter({ url: postgres.url, schema: 'a"; DROP SCHEMA public; --' })).toThrow(RangeError);
});

test('schemaDifference writes the SQL that turns one schema into another', async () => {
  const head = 'datasource db {\n  provider = "postgresql"\n}\n';
  const before = `${head}model Robot {\n  name String @id\n}\n`;
  const after = `${head}model Robot {\n  name String @id\n  camera String?\n}\n`;
  expect(await schemaDifference(postgres.url, undefined, before)).toContain('CREATE TABLE "Robot"');
  expect(await schemaDifference(postgres.url, before, after)).toContain('ADD COLUMN     "camera" TEXT');
});
