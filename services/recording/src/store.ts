import path from 'node:path';
import type { Logger } from '@weir/platform';
import { databaseAdapter, migrateDatabase } from '@weir/platform/database';
import { PrismaClient, type Recording as RecordingRow } from './generated/client.js';

export type { RecordingRow };

const SCHEMA = 'recording';
const MIGRATIONS = path.resolve(import.meta.dirname, '../prisma/migrations');

/** The recordings in the database. */
export class RecordingStore {
  private constructor(readonly database: PrismaClient) {}

  /** Waits for the database and migrates its tables. */
  static async open(url: string, log: Pick<Logger, 'info' | 'warn'>): Promise<RecordingStore> {
    const applied = await migrateDatabase({ url, schema: SCHEMA }, MIGRATIONS, {
      onWait: (err, nextTryMs) => log.warn({ err, nextTryMs }, 'the database can’t be reached yet'),
    });
    if (applied.length > 0) log.info({ applied }, 'database migrated');
    return new RecordingStore(new PrismaClient({ adapter: databaseAdapter({ url, schema: SCHEMA }) }));
  }

  async ping(): Promise<void> {
    await this.database.$queryRaw`SELECT 1`;
  }

  async close(): Promise<void> {
    await this.database.$disconnect();
  }
}
