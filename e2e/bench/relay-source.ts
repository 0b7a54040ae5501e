/** Sends synthetic streams until it is let go. A program of its own, see ChildProgram; its argument is a StreamFeed[]. */
import { createSocket } from 'node:dgram';
import { announce } from './child-program.js';
import { clockMs, PICTURES_PER_S, SyntheticStream, type FeedAddress, type StreamFeed } from './relay-stream.js';

const TICK_MS = 1;

const feeds = JSON.parse(process.argv[2] ?? '') as StreamFeed[];
/** A socket for each medium: who is fed takes the first address that speaks for the sender's. */
const senderTo = () => {
  const socket = createSocket('udp4');
  socket.on('error', () => undefined); // a receiver has closed before us
  return (packet: Buffer, { ip, port }: FeedAddress) => socket.send(packet, port, ip);
};
const beginMs = clockMs();
const streams = feeds.map((feed, index) => {
  const send = { audio: senderTo(), video: senderTo() };
  // Spread over the time of a picture, as streams that know nothing of each other are.
  const startMs = beginMs + (index / feeds.length) * (1_000 / PICTURES_PER_S);
  return new SyntheticStream(feed, startMs, (packet, to) => (to === feed.audio ? send.audio : send.video)(packet, to));
});
setInterval(() => {
  const nowMs = clockMs();
  for (const stream of streams) stream.sendDue(nowMs);
}, TICK_MS);
announce({});
