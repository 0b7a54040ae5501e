// An instance that can be killed: it delivers the webhooks of its queue until it is ended. Prints a line when it is
// ready. It runs from the build, as in production.
import { OutboundGuard, parseAllowList } from '@weir/outbound';
import { Outbox, webhookHandler } from '@weir/outbox';

const [url, secret] = process.argv.slice(2);
const ignore = () => undefined;
const outbox = await Outbox.open({
  ...{ url, owner: 'killed', instance: `i${process.pid}`, pollMs: 20 },
  log: { info: ignore, warn: ignore, error: ignore },
});
const guard = new OutboundGuard({ allow: parseAllowList('127.0.0.1') });
outbox.deliver(
  'webhook',
  webhookHandler({ guard, secrets: async () => [secret] }, { pace: { firstMs: 10, maxMs: 50 }, leaseMs: 400 }),
);
console.log('ready');
