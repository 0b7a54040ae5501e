/** Answers at once, over libs/bus and over the raw NATS client. It runs as a separate program; see ChildProgram. */
import { randomUUID } from 'node:crypto';
import { connect } from '@nats-io/transport-node';
// eslint-disable-next-line @nx/enforce-module-boundaries -- what is measured is the library itself
import { Bus } from '@weir/bus';
// eslint-disable-next-line @nx/enforce-module-boundaries -- what is measured is the library itself
import { Media } from '@weir/contracts';
import {
  asBytes,
  closeReply,
  CloseSessionReplySchema,
  playReply,
  PlayReplySchema,
  RAW_SUBJECTS,
} from './bus-messages.js';
import { announce } from './child-program.js';
import { natsServerOf } from './nats-url.js';

export interface BusServerReady {
  instanceId: string;
}

const [natsUrl = ''] = process.argv.slice(2);
const instanceId = `bench-${randomUUID()}`;

const bus = await Bus.connect({ url: natsUrl, service: 'bench', instanceId });
bus.serve(Media.method.closeSession, () => closeReply);
bus.serve(Media.method.play, () => playReply);
await bus.flush();

const nats = await connect(natsServerOf(natsUrl));
for (const [subject, reply] of [
  [RAW_SUBJECTS.close, asBytes(CloseSessionReplySchema, closeReply)],
  [RAW_SUBJECTS.play, asBytes(PlayReplySchema, playReply)],
] as const)
  nats.subscribe(subject, { callback: (_error, message) => void message.respond(reply) });
await nats.flush();

const ready: BusServerReady = { instanceId };
announce(ready);
