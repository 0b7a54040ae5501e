/**
 * Sends synthetic streams until its parent disconnects. A separate program (see ChildProgram); takes a StreamFeed[].
 */
import { createSocket } from 'node:dgram';
import { announce } from './child-program.js';
import { clockMs, PICTURES_PER_S, SyntheticStream, type FeedAddress, type StreamFeed } from './relay-stream.js';

const TICK_MS = 1;

const feeds = JSON.parse(process.argv[2] ?? '') as StreamFeed[];
/** Makes a socket for each medium, because the receiver takes the first address that sends for the sender's address. */
const senderTo = () => {
  const socket = createSocket('udp4');
  socket.on('error', () => undefined); // a receiver has closed before this program
  return (packet: Buffer, { ip, port }: FeedAddress) => socket.send(packet, port, ip);
};
const beginMs = clockMs();
const streams = feeds.map((feed, index) => {
  const send = { audio: senderTo(), video: senderTo() };
  // The streams are spread over the duration of a picture, like independent streams.
  const startMs = beginMs + (index / feeds.length) * (1_000 / PICTURES_PER_S);
  return new SyntheticStream(feed, startMs, (packet, to) => (to === feed.audio ? send.audio : send.video)(packet, to));
});
setInterval(() => {
  const nowMs = clockMs();
  for (const stream of streams) stream.sendDue(nowMs);
}, TICK_MS);
announce({});
