import { ErrorCode } from '@weir/contracts';
import { asWeirError } from '@weir/platform/database';
import { startPostgres, type TestServer } from '@weir/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openDatabase, type Database } from './database.js';

let postgres: TestServer;
let database: Database;

beforeAll(async () => {
  postgres = await startPostgres();
  database = await openDatabase(postgres.url, { info: () => undefined, warn: () => undefined });
}, 60_000);
afterAll(async () => {
  await database.$disconnect();
  await postgres.stop();
});

const errorOf = async (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => undefined,
    (error: unknown) => asWeirError(error),
  );

describe("an error of the database's client", () => {
  it('is UNAVAILABLE when the server ends the connection during a query', async () => {
    const error = await errorOf(database.$queryRaw`SELECT pg_terminate_backend(pg_backend_pid())`);
    expect(error).toMatchObject({ code: ErrorCode.UNAVAILABLE });
  });

  it('is UNAVAILABLE when nobody listens', async () => {
    await postgres.kill();
    expect(await errorOf(database.user.count())).toMatchObject({ code: ErrorCode.UNAVAILABLE });
    await postgres.restart();
    expect(await errorOf(database.user.count())).toBeUndefined();
  });

  it('stays what it is when the query is wrong', async () => {
    const error = await errorOf(database.$queryRaw`SELECT no_such_column`);
    expect(error).toBeInstanceOf(Error);
    expect(error).not.toHaveProperty('name', 'WeirError');
  });
});

it.each([undefined, 'text', new Error('any')])(
  'an error that isn’t the database client’s stays what it is: %s',
  (error) => expect(asWeirError(error)).toBe(error),
);

it.each(['Connection terminated unexpectedly', 'timeout exceeded when trying to connect'])(
  'the driver’s "%s" is UNAVAILABLE',
  (message) => expect(asWeirError(new Error(message))).toMatchObject({ code: ErrorCode.UNAVAILABLE }),
);
