import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { databaseAdapter, migrateDatabase, schemaDifference } from './database.js';
import { startPostgres, type TestServer } from '@weir/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';

const SERVICES = path.resolve(import.meta.dirname, '../../../services');
const WITH_DATABASE = readdirSync(SERVICES).filter((service) => existsSync(path.join(SERVICES, service, 'prisma')));

const idOf = (service: string) => service.replaceAll('-', '_');

let postgres: TestServer;

beforeAll(async () => {
  postgres = await startPostgres();
}, 60_000);

afterAll(() => postgres.stop());

/** Without exclusion constraints and their indexes: a Prisma schema can't declare them. */
const SHAPE = `
  SELECT 'column ' || table_name || '.' || column_name || ' ' || udt_name || ' ' || coalesce(datetime_precision, 0)
         || ' ' || is_nullable || ' ' || coalesce(column_default, '')
    FROM information_schema.columns
   WHERE table_schema = current_schema() AND table_name <> '_prisma_migrations'
  UNION ALL
  SELECT 'index ' || replace(indexdef, current_schema() || '.', '')
    FROM pg_indexes WHERE schemaname = current_schema() AND tablename <> '_prisma_migrations'
     AND indexname NOT IN (SELECT conname FROM pg_constraint
                            WHERE contype = 'x' AND connamespace = current_schema()::regnamespace)
  UNION ALL
  SELECT 'constraint ' || conname || ' ' || replace(pg_get_constraintdef(oid), current_schema() || '.', '')
    FROM pg_constraint WHERE connamespace = current_schema()::regnamespace AND contype <> 'x' AND conname NOT LIKE '\\_prisma%'
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

test('services have databases', () => expect(WITH_DATABASE.length).toBeGreaterThan(2));

test.each(WITH_DATABASE)('the migrations of %s create exactly its Prisma schema', async (service) => {
  const prisma = path.join(SERVICES, service, 'prisma');
  const [migrated, declared] = [`migrated_${idOf(service)}`, `declared_${idOf(service)}`];
  await migrateDatabase({ url: postgres.url, schema: migrated }, path.join(prisma, 'migrations'));

  const wanted = readFileSync(path.join(prisma, 'schema.prisma'), 'utf8');
  const connection = await databaseAdapter({ url: postgres.url, schema: declared }).connect();
  await connection.executeScript(`CREATE SCHEMA ${declared}`);
  await connection.executeScript(await schemaDifference(postgres.url, undefined, wanted));
  await connection.dispose();

  const shape = await shapeOf(declared);
  expect(shape.length).toBeGreaterThan(10);
  expect(await shapeOf(migrated)).toEqual(shape);
});
