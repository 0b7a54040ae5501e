// The smallest possible service, for tests of the close order, which it writes to standard output, and of unhandled
// errors, which signals cause.
import 'reflect-metadata';
import { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { runService } from '../src/service.js';

await runService({
  service: 'tiny',
  settings: { TINY_NUMBER: z.coerce.number().int().default(1) },
  open: async ({ log }) => {
    process.on('SIGUSR2', () => {
      void Promise.reject(new Error('a promise of one request'));
      new Socket().destroy(Object.assign(new Error('a stream of one request'), { code: 'ECONNRESET' }));
    });
    process.on('SIGHUP', () => {
      throw new Error('a mistake');
    });
    return {
      drain: async () => {
        log.info('draining');
        await sleep(200);
        log.info('drained');
      },
      close: async () => log.info('closed'),
    };
  },
});
