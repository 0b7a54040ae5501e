import { once } from 'node:events';
import { type AddressInfo, type Server, type Socket, connect, createServer } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FaultyLink } from './faulty-link.js';
import { waitFor } from './wait-for.js';

describe('a faulty link', () => {
  let server: Server;
  let link: FaultyLink;
  let client: Socket;
  let heard = '';

  beforeEach(async () => {
    heard = '';
    server = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.pipe(socket);
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    link = await FaultyLink.open({ port: (server.address() as AddressInfo).port });
    client = await dial();
  });

  afterEach(async () => {
    client.destroy();
    await link.close();
    await new Promise((resolve) => server.close(resolve));
  });

  async function dial(): Promise<Socket> {
    const socket = connect({ port: link.port, host: '127.0.0.1' });
    socket.on('error', () => undefined);
    socket.setEncoding('utf8').on('data', (text: string) => (heard += text));
    await once(socket, 'connect');
    return socket;
  }

  const ended = (socket: Socket): Promise<void> => new Promise((resolve) => socket.once('close', () => resolve()));

  it('carries bytes in both directions', async () => {
    client.write('hello');
    await waitFor(() => heard === 'hello');
    expect(link.connections).toBe(1);
  });

  it('keeps the order when the delay shrinks on the way', async () => {
    link.delayMs = 60;
    client.write('first ');
    await new Promise((resolve) => setTimeout(resolve, 10));
    link.delayMs = 0;
    client.write('second');
    await waitFor(() => heard.includes('second'));
    expect(heard).toBe('first second');
  });

  it('holds everything without closing a connection, and passes it on when released', async () => {
    client.write('before ');
    await waitFor(() => heard === 'before ');
    link.hold();
    client.write('after');
    // A second connection is accepted, and is just as silent.
    const second = await dial();
    second.write('more');
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(heard).toBe('before ');
    expect(client.destroyed).toBe(false);
    link.release();
    await waitFor(() => heard.includes('after') && heard.includes('more'));
    second.destroy();
  });

  it('resets its connections when it is cut, and accepts new ones', async () => {
    const closed = ended(client);
    link.cut();
    await closed;
    client = await dial();
    client.write('again');
    await waitFor(() => heard === 'again');
  });

  it('resets new connections while it refuses', async () => {
    link.refuse();
    const refused = connect({ port: link.port, host: '127.0.0.1' });
    refused.on('error', () => undefined);
    await ended(refused);
    expect(link.refusals).toBe(1);
    link.accept();
    const taken = await dial();
    taken.write('in');
    await waitFor(() => heard === 'in');
    taken.destroy();
  });

  it('passes on the end of a stream after everything that came before it', async () => {
    link.delayMs = 20;
    const closed = ended(client);
    client.end('last words');
    await closed;
    expect(heard).toBe('last words');
    await waitFor(() => link.connections === 0);
  });

  it('gives the URL that reaches a server through it', () => {
    expect(link.through('nats://weir:x@127.0.0.1:4222')).toBe(`nats://weir:x@127.0.0.1:${link.port}`);
  });
});
