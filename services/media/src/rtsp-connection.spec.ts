import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createLogger } from '@weir/platform';
import { RtspConnection, type RtspHost } from './rtsp-connection.js';

const OPTIONS = 'OPTIONS rtsp://127.0.0.1/house/door RTSP/1.0\r\nCSeq: 1\r\n\r\n';

let server: Server;
let clients: Socket[];
let closed: number;
let isBroken: boolean;

const host: RtspHost = {
  authorise: () => Promise.resolve({ tag: 'refused', refusal: 'forbidden' }),
  describe: () => Promise.resolve({ tag: 'refused', refusal: 'not-found' }),
  record: () => Promise.resolve({ tag: 'refused', refusal: 'forbidden' }),
  play: () => Promise.resolve({ tag: 'refused', refusal: 'forbidden' }),
  allowsRequest: () => {
    if (isBroken) throw new RangeError('a defect');
    return true;
  },
  sayRefusal: () => undefined,
};

const client = (): Socket => {
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1').on('error', () => undefined);
  clients.push(socket);
  return socket;
};
const answerOf = async (socket: Socket): Promise<string> => {
  socket.write(OPTIONS);
  const [bytes] = (await once(socket, 'data')) as [Buffer];
  return bytes.toString();
};

beforeEach(async () => {
  [clients, closed, isBroken] = [[], 0, false];
  const log = createLogger('media', 'media-1', 'silent');
  server = createServer((socket) => new RtspConnection(socket, '127.0.0.1', host, log, () => (closed += 1)));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
});
afterEach(() => {
  for (const socket of clients) socket.destroy();
  server.close();
});

describe('a defect that one client meets', () => {
  it('ends the connection of that client alone', async () => {
    const other = client();
    expect(await answerOf(other)).toContain('RTSP/1.0 200');
    isBroken = true;
    const unlucky = client();
    unlucky.write(OPTIONS);
    await once(unlucky, 'close');
    isBroken = false;
    expect(closed).toBe(1);
    expect(await answerOf(other)).toContain('RTSP/1.0 200');
  });
});
