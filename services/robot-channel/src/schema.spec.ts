import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { databaseAdapter, migrateDatabase, schemaDifference } from '@weir/platform/database';
import { startPostgres, type TestServer } from '@weir/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';

const PRISMA = path.resolve(import.meta.dirname, '../prisma');

let postgres: TestServer;

beforeAll(async () => {
  postgres = await startPostgres();
}, 60_000);

afterAll(() => postgres.stop());

const SHAPE = `
  SELECT 'column ' || table_name || '.' || column_name || ' ' || udt_name || ' ' || coalesce(datetime_precision, 0)
         || ' ' || is_nullable || ' ' || coalesce(column_default, '')
    FROM information_schema.columns
   WHERE table_schema = current_schema() AND table_name <> '_prisma_migrations'
  UNION ALL
  SELECT 'index ' || replace(indexdef, current_schema() || '.', '')
    FROM pg_indexes WHERE schemaname = current_schema() AND tablename <> '_prisma_migrations'
  UNION ALL
  SELECT 'constraint ' || conname || ' ' || replace(pg_get_constraintdef(oid), current_schema() || '.', '')
    FROM pg_constraint WHERE connamespace = current_schema()::regnamespace AND conname NOT LIKE '\\_prisma%'
  UNION ALL
  SELECT 'enum ' || typname || ' ' || enumlabel
    FROM pg_enum JOIN pg_type ON pg_type.oid = enumtypid WHERE typnamespace = current_schema()::regnamespace
  ORDER BY 1`;

const shapeOf = async (schema: string): Promise<unknown[]> => {
  const connection = await databaseAdapter({ url: postgres.url, schema }).connect();
  const { rows } = await connection.queryRaw({ sql: SHAPE, args: [], argTypes: [] });
  await connection.dispose();
  return rows.flat();
};

test('the migrations make just what the Prisma schema says', async () => {
  await migrateDatabase({ url: postgres.url, schema: 'migrated' }, path.join(PRISMA, 'migrations'));

  const wanted = await readFile(path.join(PRISMA, 'schema.prisma'), 'utf8');
  const connection = await databaseAdapter({ url: postgres.url, schema: 'declared' }).connect();
  await connection.executeScript('CREATE SCHEMA declared');
  await connection.executeScript(await schemaDifference(postgres.url, undefined, wanted));
  await connection.dispose();

  const declared = await shapeOf('declared');
  expect(declared.length).toBeGreaterThan(15);
  expect(await shapeOf('migrated')).toEqual(declared);
});
