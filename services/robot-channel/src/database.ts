import path from 'node:path';
import type { Logger } from '@weir/platform';
import { migratedAdapter } from '@weir/platform/database';
import { Prisma, PrismaClient } from './generated/client.js';

export type Database = PrismaClient;

const SCHEMA = 'robot_channel';
const MIGRATIONS = path.resolve(import.meta.dirname, '../prisma/migrations');

/** Waits for the database, migrates its tables and opens it. */
export const openDatabase = async (url: string, log: Pick<Logger, 'info' | 'warn'>): Promise<Database> =>
  new PrismaClient({ adapter: await migratedAdapter({ url, schema: SCHEMA }, MIGRATIONS, log) });

const codeOf = (error: unknown): string | undefined =>
  error instanceof Prisma.PrismaClientKnownRequestError ? error.code : undefined;

export const isTaken = (error: unknown): boolean => codeOf(error) === 'P2002';
/** The row is missing, or the row that it refers to. */
export const isMissing = (error: unknown): boolean => ['P2025', 'P2003'].includes(codeOf(error) ?? '');
