import { mkdir } from 'node:fs/promises';
import { Access } from '@weir/access';
import { openInOrder } from '@weir/platform';
import type { RecordingContext } from './config.js';
import { RecordingStore } from './store.js';

/** The whole service except its HTTP edge. */
export interface Recording {
  readonly access: Access;
  readonly store: RecordingStore;
  close(): Promise<void>;
}

export const openRecording = (context: RecordingContext): Promise<Recording> =>
  openInOrder(context.log, async (opened) => {
    const { config, log, bus, redis, health } = context;
    await mkdir(config.WEIR_RECORDING_DIR, { recursive: true, mode: 0o700 });
    const store = opened.add('database', await RecordingStore.open(config.DATABASE_URL, log));
    health.check('database', () => store.ping());
    return { access: new Access({ bus, redis, log }), store };
  });
