import { request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http';
import { connect, type Socket } from 'node:net';
import { waitFor } from '@weir/testing';
import { afterEach, describe, expect, it } from 'vitest';
import { startEdge, stopEdges } from './testing/edge-under-test.js';
import { startService, stopServices } from './testing/service-stand-in.js';

const sockets = new Set<Socket>();

afterEach(async () => {
  for (const socket of sockets) socket.destroy();
  sockets.clear();
  await stopEdges();
  await stopServices();
});

const ATTACKER = '127.0.0.66';
const OTHER = '127.0.0.77';
const HEAD = 'Host: x\r\nContent-Type: application/json\r\n';

class RawClient {
  received = '';
  closed = false;

  private constructor(readonly socket: Socket) {
    socket.setEncoding('latin1').on('data', (text: string) => (this.received += text));
    socket.on('error', () => undefined);
    socket.on('close', () => (this.closed = true));
  }

  static send(port: number, bytes: string, localAddress = ATTACKER): RawClient {
    const socket = connect({ port, host: '127.0.0.1', localAddress });
    sockets.add(socket);
    const client = new RawClient(socket);
    socket.write(bytes);
    return client;
  }

  get statusCode(): number {
    return Number(/^HTTP\/1\.1 (\d+)/.exec(this.received)?.[1] ?? 0);
  }
}

/** The status of another client's request, over its own connection. */
const statusOf = (url: string, body?: string): Promise<number> =>
  new Promise((resolve, reject) => {
    const method = body === undefined ? 'GET' : 'POST';
    httpRequest(url, { localAddress: OTHER, agent: false, method }, (response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    })
      .on('error', reject)
      .end(body);
  });

const unfinished = [
  `POST /auth/ HTTP/1.1\r\n${HEAD}Content-Length: 100\r\n\r\n{"half":`,
  `POST /auth/ HTTP/1.1\r\n${HEAD}Content-Length: 100\r\n\r\n`,
  `PUT /auth/x HTTP/1.1\r\n${HEAD}Transfer-Encoding: chunked\r\n\r\n20\r\n{"half":`,
  `POST /auth/ HTTP/1.1\r\n${HEAD}Transfer-Encoding: chunked\r\n\r\n`,
  `DELETE /auth/x HTTP/1.1\r\n${HEAD}Content-Length: 2\r\n\r\n{`,
];

describe('unfinished bodies', () => {
  it('do not reach the service, do not hold up other clients, and can be aborted in every way', async () => {
    const auth = await startService();
    const { url, port, log } = await startEdge({ WEIR_UPSTREAM_AUTH: auth.url, WEIR_AUTH_REQUESTS_PER_MINUTE: '0' });
    const clients = Array.from({ length: 330 }, (_, index) =>
      RawClient.send(port, unfinished[index % unfinished.length] ?? ''),
    );
    await waitFor(() => clients.every(({ socket }) => socket.bytesWritten > 0 && !socket.connecting));
    expect(await statusOf(`${url}/auth/`)).toBe(200);
    expect(await statusOf(`${url}/auth/`, '{}')).toBe(200);
    expect(auth.requests).toHaveLength(2);

    for (const [index, { socket }] of clients.entries())
      if (index % 3 === 0) socket.resetAndDestroy();
      else if (index % 3 === 1) socket.end();
      else socket.destroy();
    await waitFor(() => clients.every(({ closed }) => closed), { what: 'the end of every connection' });
    expect(await statusOf(`${url}/auth/`, '{}')).toBe(200);
    expect(auth.requests).toHaveLength(3);
    expect(log.filter(({ level }) => level !== 'debug')).toEqual([]);
  });

  it('are answered with 408 if they take too long', async () => {
    const auth = await startService();
    const { port } = await startEdge({ WEIR_UPSTREAM_AUTH: auth.url, WEIR_REQUEST_TIMEOUT_MS: '200' });
    const client = RawClient.send(port, unfinished[0] ?? '');
    await waitFor(() => client.statusCode === 408 && client.closed);
    expect(auth.requests).toEqual([]);
  });

  it('take no more memory than their address may have, and others can still send theirs', async () => {
    const auth = await startService();
    const { url, port } = await startEdge({
      WEIR_UPSTREAM_AUTH: auth.url,
      WEIR_BODY_BYTES_PER_ADDRESS: String(2 * 1024 * 1024),
    });
    const most = 1024 * 1024 - 1;
    const bytes = `POST /auth/ HTTP/1.1\r\n${HEAD}Content-Length: ${most + 1}\r\n\r\n${' '.repeat(most)}`;
    const clients = [1, 2, 3].map(() => RawClient.send(port, bytes));
    await waitFor(() => clients.some(({ statusCode }) => statusCode === 429));
    expect(clients.filter(({ statusCode }) => statusCode === 0)).toHaveLength(2);
    expect(await statusOf(`${url}/auth/`, ' '.repeat(most))).toBe(200);
    for (const { socket } of clients) socket.destroy();
    await waitFor(async () => {
      const again = RawClient.send(port, `${bytes} `);
      await waitFor(() => again.statusCode > 0);
      return again.statusCode === 200;
    });
  });
});

describe('requests that wait for their answer', () => {
  /** Answers `/auth/soon`; all other requests wait. */
  async function startWaiting() {
    const waiting = new Set<ServerResponse>();
    const auth = await startService({
      onRequest: (request: IncomingMessage, response) => {
        if (request.url === '/auth/soon') return response.end('now');
        waiting.add(response);
        response.on('close', () => waiting.delete(response));
        return undefined;
      },
    });
    const env = { WEIR_UPSTREAM_AUTH: auth.url, WEIR_AUTH_REQUESTS_PER_MINUTE: '0' };
    return { waiting, env };
  }

  it('do not hold up other clients, however many they are, and end at the service when their clients go', async () => {
    const { waiting, env } = await startWaiting();
    const { url, port, log } = await startEdge(env);
    const clients = Array.from({ length: 420 }, () =>
      RawClient.send(port, `GET /auth/later HTTP/1.1\r\nHost: x\r\n\r\n`),
    );
    await waitFor(() => waiting.size === 420);
    expect(await statusOf(`${url}/auth/soon`)).toBe(200);
    for (const { socket } of clients) socket.destroy();
    await waitFor(() => waiting.size === 0, { what: 'the end of the requests at the service' });
    expect(await statusOf(`${url}/auth/soon`)).toBe(200);
    expect(log.filter(({ level }) => level !== 'debug')).toEqual([]);
  });

  it('are limited for each address', async () => {
    const { waiting, env } = await startWaiting();
    const { url, port } = await startEdge({ ...env, WEIR_REQUESTS_PER_ADDRESS: '2' });
    const get = 'GET /auth/later HTTP/1.1\r\nHost: x\r\n\r\n';
    RawClient.send(port, get);
    RawClient.send(port, get);
    await waitFor(() => waiting.size === 2);
    const third = RawClient.send(port, get);
    await waitFor(() => third.statusCode === 429);
    expect(await statusOf(`${url}/auth/soon`)).toBe(200);
  });
});

describe('an answer that the client does not read', () => {
  it('is ended here and at the service, with a line in the log', async () => {
    let sending = 0;
    const auth = await startService({
      onRequest: (_request, response) => {
        sending += 1;
        response.on('close', () => (sending -= 1));
        response.end(Buffer.alloc(64 * 1024 * 1024));
      },
    });
    const { port, log } = await startEdge({ WEIR_UPSTREAM_AUTH: auth.url, WEIR_ANSWER_TIMEOUT_MS: '300' });
    const client = RawClient.send(port, 'GET /auth/?token=secret HTTP/1.1\r\nHost: x\r\n\r\n');
    client.socket.pause();
    await waitFor(() => sending === 1);
    await waitFor(() => sending === 0, { what: 'the end of the answer at the service' });
    client.socket.resume();
    await waitFor(() => client.closed);
    const lines = log.filter(({ level }) => level !== 'debug');
    expect(lines).toEqual([
      expect.objectContaining({
        message: 'answer cut off',
        fields: expect.objectContaining({ address: ATTACKER, method: 'GET', path: '/auth/' }) as object,
      }),
    ]);
  });
});

describe('connections', () => {
  it('are limited for each address; those of a trusted proxy are not counted', async () => {
    const limits = { WEIR_CONNECTIONS_PER_ADDRESS: '2', WEIR_SOCKETS_PER_ADDRESS: '1' };
    const { port, url } = await startEdge(limits);
    const open = () => RawClient.send(port, 'GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n');
    const kept = [open(), open(), open()];
    await waitFor(() => kept.every(({ statusCode }) => statusCode === 200));
    const fourth = open();
    await waitFor(() => fourth.closed);
    expect(fourth.received).toBe('');
    expect(await statusOf(`${url}/healthz`)).toBe(200);
    kept[0]?.socket.destroy();
    await waitFor(async () => {
      const next = open();
      await waitFor(() => next.statusCode > 0 || next.closed);
      return next.statusCode === 200;
    });

    const behindProxy = await startEdge({ ...limits, WEIR_TRUSTED_PROXIES: ATTACKER });
    const many = Array.from({ length: 10 }, () =>
      RawClient.send(behindProxy.port, 'GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n'),
    );
    await waitFor(() => many.every(({ statusCode }) => statusCode === 200));
  });
});
