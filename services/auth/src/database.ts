import path from 'node:path';
import { knownGrants, type Grant } from '@weir/access';
import type { Logger } from '@weir/platform';
import { migratedAdapter } from '@weir/platform/database';
import { z } from 'zod';
import { Prisma, PrismaClient } from './generated/client.js';

export type Database = PrismaClient;
export type DatabaseTransaction = Prisma.TransactionClient;

const SCHEMA = 'auth';
const MIGRATIONS = path.resolve(import.meta.dirname, '../prisma/migrations');

/** Waits for the database, brings its tables up to date and opens it. */
export const openDatabase = async (url: string, log: Pick<Logger, 'info' | 'warn'>): Promise<Database> =>
  new PrismaClient({ adapter: await migratedAdapter({ url, schema: SCHEMA }, MIGRATIONS, log) });

const storedGrants = z.array(z.object({ verb: z.string(), object: z.string() }));

export const readGrants = (stored: Prisma.JsonValue): Grant[] => knownGrants(storedGrants.parse(stored));
export const writeGrants = (grants: readonly Grant[]): Prisma.InputJsonValue =>
  grants.map(({ verb, object }) => ({ verb, object }));

export const isTaken = (error: unknown): boolean =>
  error instanceof Prisma.PrismaClientKnownRequestError && error.code === 'P2002';
