import { createServer, type Server } from 'node:http';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { ErrorCode, isWeirError, WeirError } from '@weir/contracts';
import { waitFor } from '@weir/testing';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { SocketServer, type ClientSocket } from './socket-server.js';

const HANDSHAKE = [
  'GET /refused HTTP/1.1',
  'Host: x',
  'Connection: Upgrade',
  'Upgrade: websocket',
  'Sec-WebSocket-Version: 13',
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
  '\r\n',
].join('\r\n');

let http: Server;
let server: SocketServer;
let isFull: boolean;
/** What the listeners heard, and the server's ends of the sockets. */
let heard: string[];
let opened: ClientSocket[];
let clients: WebSocket[];
let errors: unknown[];

beforeEach(async () => {
  [isFull, heard, opened, clients, errors] = [false, [], [], [], []];
  server = new SocketServer({
    admit: ({ url }) => {
      if (url === '/refused') throw new WeirError(ErrorCode.UNAUTHENTICATED, 'A token is needed');
      return {
        limitedWith: 'someone',
        open: (socket) => {
          opened.push(socket);
          return {
            frame: (text) => {
              if (text === 'unbearable') throw new RangeError('Maximum call stack size exceeded');
              heard.push(`frame ${text}`);
            },
            binaryFrame: (byteLength) => void heard.push(`${byteLength} bytes`),
            heard: () => void heard.push('heard'),
            broken: (reason) => void heard.push(`broken: ${reason}`),
            closed: () => void heard.push('closed'),
          };
        },
      };
    },
    hasRoom: () => !isFull,
    refuse: (error) => {
      if (!isWeirError(error)) throw error;
      const status = error.code === ErrorCode.UNAVAILABLE ? 503 : 401;
      return { status, body: status === 401 ? '{"why":"no token"}' : '' };
    },
    maxPayloadBytes: 1_000,
    unfinishedFrames: { timeoutMs: 200, perAddressBytes: 10_000, totalBytes: 100_000 },
    log: { error: (error: unknown) => void errors.push(error) },
  });
  http = createServer();
  server.listen(http);
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
});
afterEach(async () => {
  for (const client of clients) client.terminate();
  await server.close();
  await new Promise((resolve) => http.close(resolve));
  expect(errors).toEqual([]);
});

const port = () => (http.address() as AddressInfo).port;
const client = async (): Promise<WebSocket> => {
  const socket = new WebSocket(`ws://127.0.0.1:${port()}/`);
  clients.push(socket);
  await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject));
  return socket;
};
const closeOf = (socket: WebSocket) =>
  new Promise<number>((resolve) => socket.once('close', (code: number) => resolve(code)));
/** A client that answers no close frame, and doesn't close its side. */
const stubborn = (text: string): { socket: Socket; received: () => string } => {
  const socket = connect({ port: port(), host: '127.0.0.1', allowHalfOpen: true });
  let received = '';
  socket.setEncoding('latin1').on('data', (data: string) => (received += data));
  socket.write(text);
  return { socket, received: () => received };
};

describe('a client', () => {
  it('is heard: its frames, its pings and its end', async () => {
    const socket = await client();
    socket.send('hello');
    socket.send(Buffer.alloc(7));
    socket.ping();
    await waitFor(() => heard.length === 3);
    socket.close();
    await waitFor(() => heard.length === 4);
    expect(heard).toEqual(['frame hello', '7 bytes', 'heard', 'closed']);
  });

  it('whose frame can not be handled loses its own socket, and nobody else does', async () => {
    const [one, other] = [await client(), await client()];
    one.send('unbearable');
    expect(await closeOf(one)).toBe(1011);
    other.send('hello');
    await waitFor(() => heard.length === 2);
    expect(heard.sort()).toEqual(['closed', 'frame hello']);
    expect(errors.splice(0)).toEqual([{ err: expect.any(RangeError) as unknown }]);
  });

  it('hears what it is sent, and nothing once its socket closes', async () => {
    const socket = await client();
    const received: string[] = [];
    socket.on('message', (data: Buffer) => received.push(data.toString()));
    opened[0]?.send('welcome');
    opened[0]?.ping();
    await waitFor(() => received.length === 1 && heard.length === 1);
    opened[0]?.close(4400, 'enough');
    opened[0]?.send('too late');
    opened[0]?.ping();
    expect(await closeOf(socket)).toBe(4400);
    await waitFor(() => heard.at(-1) === 'closed');
    expect([received, heard]).toEqual([['welcome'], ['heard', 'closed']]);
  });

  it('is closed with 1009 for a frame that is too big', async () => {
    const socket = await client();
    socket.send('x'.repeat(1_001));
    expect(await closeOf(socket)).toBe(1009);
    expect(heard).toEqual(['broken: Max payload size exceeded', 'closed']);
  });

  it('is closed with 1008 when it does not finish a frame in time', async () => {
    const socket = await client();
    socket.send('x', { fin: false });
    expect(await closeOf(socket)).toBe(1008);
  });

  it('is closed with 1013 when its unfinished frames are too many together', async () => {
    const sockets = await Promise.all(Array.from({ length: 15 }, client));
    const codes = sockets.map(closeOf);
    for (const socket of sockets) socket.send('x'.repeat(900), { fin: false });
    expect(await Promise.race(codes)).toBe(1013);
  });
});

describe('a refusal', () => {
  it('comes before the upgrade, with what is missing', async () => {
    const { socket, received } = stubborn(HANDSHAKE);
    await waitFor(() => received().includes('no token'));
    expect(received().split('\r\n')).toEqual([
      'HTTP/1.1 401 Unauthorized',
      'Connection: close',
      'Content-Type: application/json; charset=utf-8',
      'Content-Length: 18',
      'WWW-Authenticate: Bearer',
      '',
      '{"why":"no token"}',
    ]);
    expect(opened).toEqual([]);
    socket.destroy();
  });

  it('says when to try again if there is no room', async () => {
    isFull = true;
    const { socket, received } = stubborn(HANDSHAKE.replace('/refused', '/'));
    await waitFor(() => received().includes('\r\n\r\n'));
    expect(received()).toMatch(/^HTTP\/1.1 503 .*\r\nRetry-After: 1\r\n\r\n$/s);
    socket.destroy();
  });

  it('ends the connection of a client that does not close its side', async () => {
    const { socket } = stubborn(HANDSHAKE);
    await new Promise((resolve) => socket.once('end', resolve));
    await waitFor(
      () => new Promise<boolean>((resolve) => http.getConnections((_error, count) => resolve(count === 0))),
    );
    socket.destroy();
  });
});

describe('closing', () => {
  it('waits for clients that answer the close frame, and cuts off the one that does not', async () => {
    const polite = await client();
    const { socket, received } = stubborn(HANDSHAKE.replace('/refused', '/'));
    await waitFor(() => received().includes('\r\n\r\n') && opened.length === 2);
    for (const end of opened) end.close(1001, 'going down');
    const politeCode = closeOf(polite);
    await server.close();
    expect(await politeCode).toBe(1001);
    expect(heard).toEqual(['closed', 'closed']);
    socket.destroy();
  });

  it('refuses new clients meanwhile', async () => {
    const { socket, received } = stubborn(HANDSHAKE.replace('/refused', '/'));
    await waitFor(() => opened.length === 1 && received().includes('\r\n\r\n'));
    const closing = server.close();
    const late = stubborn(HANDSHAKE.replace('/refused', '/'));
    await waitFor(() => late.received().startsWith('HTTP/1.1 503 '));
    socket.destroy();
    late.socket.destroy();
    await closing;
  });
});
