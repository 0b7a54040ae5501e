import { expect, it } from 'vitest';
import { runSeries } from './series-program.js';

it('kill -9 of everything, and of the recorder, costs no recording, a second at most, and no webhook', async () => {
  expect(await runSeries('recording')).toContain('kill -9 while everything is recorded');
}, 240_000);
