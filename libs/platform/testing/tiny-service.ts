// The smallest service there can be: for the test of the close order, which is written to standard output.
import 'reflect-metadata';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { runService } from '../src/service.js';

await runService({
  service: 'tiny',
  settings: { TINY_NUMBER: z.coerce.number().int().default(1) },
  start: async ({ log }) => ({
    drain: async () => {
      log.info('draining');
      await sleep(200);
      log.info('drained');
    },
    close: async () => log.info('closed'),
  }),
});
