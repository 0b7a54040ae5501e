import type { Benchmark } from './benchmark.js';
import { messagesAcknowledged } from './calls-messages.js';
import { devicesOnline } from './calls-online.js';

export const calls: Benchmark = {
  name: 'calls',
  async run(context) {
    const online = await devicesOnline(context);
    const messages = await messagesAcknowledged(context);
    return {
      tables: [...online.tables, ...messages.tables],
      figures: { online: online.figures, messages: messages.figures },
    };
  },
};
