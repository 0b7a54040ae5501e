import type { Benchmark } from './benchmark.js';
import { messagesAcknowledged } from './calls-messages.js';
import { devicesOnline } from './calls-online.js';
import { callsSetUp } from './calls-set-up.js';

export const calls: Benchmark = {
  name: 'calls',
  async run(context) {
    const setUp = await callsSetUp(context);
    const online = await devicesOnline(context);
    const messages = await messagesAcknowledged(context);
    return {
      tables: [...setUp.tables, ...online.tables, ...messages.tables],
      figures: { setUp: setUp.figures, online: online.figures, messages: messages.figures },
    };
  },
};
