import { connect } from 'node:net';
import { startRedis, waitFor } from '@weir/testing';
import { afterEach, describe, expect, it } from 'vitest';
import { WebSocket, type ClientOptions } from 'ws';
import { connectRedis, startEdge, stopEdges } from './testing/edge-under-test.js';
import { exchange, parseAnswer } from './testing/raw-http.js';
import { startService, stopServices } from './testing/service-stand-in.js';

const clients = new Set<WebSocket>();

afterEach(async () => {
  for (const client of clients) client.terminate();
  clients.clear();
  await stopEdges();
  await stopServices();
});

/** A handshake as the client sees it: the open socket, or the HTTP answer that refused it. */
type Outcome =
  | { tag: 'open'; socket: WebSocket; headers: Record<string, unknown> }
  | { tag: 'refused'; status: number; body: string; headers: Record<string, unknown> };

function dial(url: string, options: ClientOptions = {}): Promise<Outcome> {
  const socket = new WebSocket(url, { perMessageDeflate: false, ...options });
  clients.add(socket);
  return new Promise((resolve, reject) => {
    let headers: Record<string, unknown> = {};
    socket.on('upgrade', (response) => (headers = response.headers));
    socket.once('open', () => {
      socket.on('error', () => undefined);
      resolve({ tag: 'open', socket, headers });
    });
    socket.once('unexpected-response', (_request, response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (text: string) => (body += text));
      response.on('end', () =>
        resolve({ tag: 'refused', status: response.statusCode ?? 0, body, headers: response.headers }),
      );
    });
    socket.once('error', reject);
  });
}

async function open(url: string, options?: ClientOptions): Promise<WebSocket> {
  const outcome = await dial(url, options);
  if (outcome.tag === 'refused') throw new Error(`refused with ${outcome.status}: ${outcome.body}`);
  return outcome.socket;
}

async function refused(url: string, options?: ClientOptions) {
  const outcome = await dial(url, options);
  if (outcome.tag === 'open') throw new Error('the socket opened');
  const { error } = JSON.parse(outcome.body) as { error: { code: string; message: string; requestId: string } };
  return { ...outcome, error };
}

const message = (socket: WebSocket) =>
  new Promise<{ data: Buffer; binary: boolean }>((resolve) =>
    socket.once('message', (data, binary) => resolve({ data: data as Buffer, binary })),
  );
const closed = (socket: WebSocket) =>
  new Promise<number>((resolve) => {
    if (socket.readyState === WebSocket.CLOSED) resolve(1006);
    else socket.once('close', (code) => resolve(code));
  });
const handshake = (path: string, ...headers: string[]) =>
  [
    `GET ${path} HTTP/1.1`,
    'Host: x',
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
    ...headers,
    '',
    '',
  ].join('\r\n');

describe('a WebSocket', () => {
  it('on an unclaimed path reaches wcs-signalling, with path, origin and the client’s address', async () => {
    const wcs = await startService();
    const { socketUrl, edge } = await startEdge({ WEIR_UPSTREAM_WCS_SIGNALLING: wcs.url });
    for (const path of ['/', '/websocket', '/any/where?x=1', '/healthz'])
      await open(`${socketUrl}${path}`, {
        origin: 'https://page.example',
        headers: { 'x-forwarded-for': '203.0.113.9', forwarded: 'for="203.0.113.9:1"' },
      });
    expect(wcs.sockets.map(({ handshake: { url } }) => url)).toEqual(['/', '/websocket', '/any/where?x=1', '/healthz']);
    expect(wcs.sockets[0]?.handshake.headers).toMatchObject({
      origin: 'https://page.example',
      'x-forwarded-for': '127.0.0.1',
      forwarded: expect.stringMatching(/^for="127\.0\.0\.1:\d+"$/) as string,
      'x-forwarded-proto': 'http',
      'x-request-id': expect.stringMatching(/^[0-9a-f-]{36}$/) as string,
    });
    expect(edge.openSockets).toBe(4);
  });

  it('carries messages of every size in both directions unchanged', async () => {
    const wcs = await startService();
    const { socketUrl } = await startEdge({ WEIR_UPSTREAM_WCS_SIGNALLING: wcs.url });
    const socket = await open(socketUrl);
    for (const sizeBytes of [0, 1, 125, 126, 65_535, 65_536, 3_000_000]) {
      const sent = Buffer.alloc(sizeBytes, 'weir');
      socket.send(sent, { binary: true });
      const { data, binary } = await message(socket);
      expect(binary).toBe(true);
      expect(data.equals(sent), `${sizeBytes} bytes`).toBe(true);
    }
    socket.send('text ü');
    expect((await message(socket)).data.toString()).toBe('text ü');
  });

  it('carries what a client sends right after its handshake', async () => {
    const wcs = await startService();
    const { port } = await startEdge({ WEIR_UPSTREAM_WCS_SIGNALLING: wcs.url });
    // Two masked frames with the mask 0: the text "hi" and a close without code.
    const answer = await exchange(port, handshake('/') + '\x81\x82\x00\x00\x00\x00hi' + '\x88\x80\x00\x00\x00\x00');
    expect(answer).toMatch(/^HTTP\/1\.1 101 Switching Protocols\r\n/);
    expect(answer.slice(answer.indexOf('\r\n\r\n') + 4)).toBe('\x81\x02hi\x88\x00');
  });

  it('lets client and service agree on extensions and sub-protocols', async () => {
    const wcs = await startService({
      onUpgrade: (request, socket) =>
        socket.end(
          `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX-Seen: ` +
            `${String(request.headers['sec-websocket-protocol'])}; ${String(request.headers['sec-websocket-extensions'])}\r\n\r\n`,
        ),
    });
    const { port } = await startEdge({ WEIR_UPSTREAM_WCS_SIGNALLING: wcs.url });
    const answer = await exchange(
      port,
      handshake(
        '/',
        'Sec-WebSocket-Protocol: a, b',
        'Sec-WebSocket-Extensions: permessage-deflate',
        'X-Request-Id: id-7',
      ),
    );
    const { headers } = parseAnswer(answer);
    expect(headers.get('x-seen')).toBe('a, b; permessage-deflate');
    expect(headers.get('x-request-id')).toBe('id-7');
  });

  it('on a path of another service reaches that service, or is refused if that accepts no sockets', async () => {
    const [wcs, robots, auth] = [await startService(), await startService(), await startService()];
    const { socketUrl } = await startEdge({
      WEIR_UPSTREAM_WCS_SIGNALLING: wcs.url,
      WEIR_UPSTREAM_ROBOT_CHANNEL: robots.url,
      WEIR_UPSTREAM_AUTH: auth.url,
    });
    await open(`${socketUrl}/channel/app?token=1`);
    await open(`${socketUrl}/%63hannel/robot`);
    expect(robots.sockets.map(({ handshake: { url } }) => url)).toEqual(['/channel/app?token=1', '/%63hannel/robot']);
    expect(await refused(`${socketUrl}/auth/`)).toMatchObject({ status: 400, error: { code: 'BAD_REQUEST' } });
    expect(await refused(`${socketUrl}/v2/device/channel`)).toMatchObject({
      status: 404,
      error: { code: 'SERVICE_NOT_CONFIGURED', message: "call-broker isn't part of this installation" },
    });
    expect([wcs.sockets, auth.requests]).toEqual([[], []]);
  });
});

describe('the end of a WebSocket', () => {
  it('reaches the service when the client closes or vanishes', async () => {
    const wcs = await startService();
    const { socketUrl, edge } = await startEdge({ WEIR_UPSTREAM_WCS_SIGNALLING: wcs.url });
    const polite = await open(socketUrl);
    const politeCode = closed(wcs.sockets[0]?.socket as WebSocket);
    polite.close(4001, 'bye');
    expect(await politeCode).toBe(4001);
    const vanishing = await open(socketUrl);
    const vanishedCode = closed(wcs.sockets[1]?.socket as WebSocket);
    vanishing.terminate();
    expect(await vanishedCode).toBe(1006);
    await waitFor(() => edge.openSockets === 0);
  });

  it('reaches the client with the service’s last message and its code', async () => {
    const wcs = await startService({
      onSocket: (socket) => {
        socket.send('last words');
        socket.close(4403, 'refused');
      },
    });
    const { socketUrl, edge } = await startEdge({ WEIR_UPSTREAM_WCS_SIGNALLING: wcs.url });
    const socket = new WebSocket(socketUrl);
    clients.add(socket);
    const words = message(socket);
    expect(await closed(socket)).toBe(4403);
    expect((await words).data.toString()).toBe('last words');
    await waitFor(() => edge.openSockets === 0);
  });

  it('reaches every client when the service is killed, and new sockets open once it is back', async () => {
    const wcs = await startService();
    const { socketUrl, edge } = await startEdge({ WEIR_UPSTREAM_WCS_SIGNALLING: wcs.url });
    const sockets = await Promise.all(Array.from({ length: 20 }, () => open(socketUrl)));
    const codes = Promise.all(sockets.map(closed));
    await wcs.kill();
    expect(new Set(await codes)).toEqual(new Set([1006]));
    await waitFor(() => edge.openSockets === 0);
    expect(await refused(socketUrl)).toMatchObject({ status: 503, error: { code: 'UPSTREAM_UNAVAILABLE' } });
    await startService({ port: wcs.port });
    await open(socketUrl);
    expect(edge.openSockets).toBe(1);
  });

  it('reaches a client that doesn’t answer a half-closed connection', async () => {
    const wcs = await startService();
    const { port, edge } = await startEdge({ WEIR_UPSTREAM_WCS_SIGNALLING: wcs.url });
    const stubborn = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    stubborn.on('error', () => undefined);
    const gone = new Promise((resolve) => stubborn.once('close', resolve));
    stubborn.resume();
    stubborn.write(handshake('/'));
    await waitFor(() => edge.openSockets === 1);
    wcs.sockets[0]?.socket.terminate();
    await waitFor(() => edge.openSockets === 0, { what: 'the end of the half-open socket' });
    // The gateway has closed its side; whatever the client sends now is reset.
    const sending = setInterval(() => stubborn.write('x'), 20);
    await gone;
    clearInterval(sending);
  });
});

describe('a handshake that fails', () => {
  it('is answered with 503 as JSON when the service is dead', async () => {
    const { socketUrl } = await startEdge({ WEIR_UPSTREAM_WCS_SIGNALLING: 'http://127.0.0.1:9' });
    const answer = await refused(socketUrl, { headers: { 'x-request-id': 'id-1' } });
    expect(answer).toMatchObject({
      status: 503,
      error: { code: 'UPSTREAM_UNAVAILABLE', message: "wcs-signalling can't be reached", requestId: 'id-1' },
    });
    expect(answer.headers).toMatchObject({ connection: 'close', 'x-request-id': 'id-1', 'retry-after': '1' });
  });

  it('is answered with 504 if the service says nothing, and with 502 if it hangs up or answers nonsense', async () => {
    const silent = await startService({ onUpgrade: () => undefined });
    const slow = await startEdge({ WEIR_UPSTREAM_WCS_SIGNALLING: silent.url, WEIR_HANDSHAKE_TIMEOUT_MS: '100' });
    expect(await refused(slow.socketUrl)).toMatchObject({ status: 504, error: { code: 'UPSTREAM_TIMEOUT' } });

    const answers = ['', 'nonsense\r\n\r\n', 'HTTP/1.1 101 Switching\r\nUpgrade: smtp\r\nConnection: Upgrade\r\n\r\n'];
    const broken = await startService({ onUpgrade: (_request, socket) => void socket.end(answers.shift() ?? '') });
    const edge = await startEdge({ WEIR_UPSTREAM_WCS_SIGNALLING: broken.url });
    for (let count = 0; count < 3; count += 1)
      expect(await refused(edge.socketUrl)).toMatchObject({ status: 502, error: { code: 'UPSTREAM_FAILED' } });
  });

  it('gets the service’s own refusal unchanged', async () => {
    const wcs = await startService({
      onUpgrade: (_request, socket) =>
        socket.end(
          'HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\nContent-Length: 6\r\nConnection: close\r\n\r\nno way',
        ),
    });
    const { socketUrl, edge } = await startEdge({ WEIR_UPSTREAM_WCS_SIGNALLING: wcs.url });
    expect(await dial(socketUrl)).toMatchObject({ tag: 'refused', status: 403, body: 'no way' });
    expect(edge.openSockets).toBe(0);
  });

  it('is refused if it is malformed, without asking the service', async () => {
    const wcs = await startService();
    const { port } = await startEdge({ WEIR_UPSTREAM_WCS_SIGNALLING: wcs.url });
    const bad = [
      handshake('/').replace('GET', 'POST'),
      handshake('/').replace('HTTP/1.1', 'HTTP/1.0'),
      handshake('/').replace(/Sec-WebSocket-Key.*\r\n/, ''),
      handshake('/', 'Content-Length: 44') + 'GET /rest-api/stream/find_all HTTP/1.1\r\n\r\n....',
      handshake('/', 'Transfer-Encoding: chunked') + '5\r\nhello\r\n0\r\n\r\n',
      handshake('http://elsewhere.example/'),
    ];
    for (const text of bad) expect(parseAnswer(await exchange(port, text)).statusCode, text).toBe(400);
    expect([wcs.requests, wcs.sockets]).toEqual([[], []]);
  });

  it('is aborted at the service when the client goes away', async () => {
    let given: 'waiting' | 'gone' | undefined;
    const wcs = await startService({
      onUpgrade: (_request, socket) => {
        given = 'waiting';
        socket.on('error', () => undefined);
        socket.on('end', () => (given = 'gone'));
        socket.resume();
      },
    });
    const { port } = await startEdge({ WEIR_UPSTREAM_WCS_SIGNALLING: wcs.url });
    const client = connect(port, '127.0.0.1');
    client.write(handshake('/'));
    await waitFor(() => given === 'waiting');
    client.resetAndDestroy();
    await waitFor(() => given === 'gone');
  });
});

describe('the limit of sockets', () => {
  it('applies to each address, and a closed socket makes room', async () => {
    const wcs = await startService();
    const { socketUrl } = await startEdge({ WEIR_UPSTREAM_WCS_SIGNALLING: wcs.url, WEIR_SOCKETS_PER_ADDRESS: '2' });
    const first = await open(socketUrl);
    await open(socketUrl);
    expect(await refused(socketUrl)).toMatchObject({ status: 429, error: { code: 'TOO_MANY_SOCKETS' } });
    first.close();
    await waitFor(async () => (await dial(socketUrl)).tag === 'open');
  });

  it('does not count failed handshakes', async () => {
    const { socketUrl } = await startEdge({
      WEIR_UPSTREAM_WCS_SIGNALLING: 'http://127.0.0.1:9',
      WEIR_SOCKETS_PER_ADDRESS: '1',
    });
    expect((await refused(socketUrl)).status).toBe(503);
    await waitFor(async () => (await refused(socketUrl)).status === 503);
  });

  it('counts the handshakes of each address for all instances together, in Redis', async () => {
    const redisServer = await startRedis();
    try {
      const wcs = await startService();
      const env = {
        WEIR_UPSTREAM_WCS_SIGNALLING: wcs.url,
        WEIR_UPGRADES_PER_MINUTE: '3',
        WEIR_TRUSTED_PROXIES: '127.0.0.1',
      };
      const redis = connectRedis(redisServer.url);
      await waitFor(() => redis.status === 'ready');
      const [one, two] = [await startEdge(env, redis), await startEdge(env, redis)];
      const from = (address: string) => ({ headers: { 'x-forwarded-for': address } });
      for (const { socketUrl } of [one, two, one]) await open(socketUrl, from('198.51.100.1'));
      const answer = await refused(two.socketUrl, from('198.51.100.1'));
      expect(answer).toMatchObject({ status: 429, error: { code: 'RATE_LIMITED' } });
      expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0);
      await open(two.socketUrl, from('198.51.100.2'));
    } finally {
      await redisServer.stop();
    }
  });
});

describe('back-pressure', () => {
  const CHUNK = Buffer.alloc(64 * 1024);
  /** More than all buffers of the system and the gateway on the way hold together. */
  const FLOOD_BYTES = 64 * 1024 * 1024;

  it('reaches a service whose client does not read; the gateway holds no more than its buffers', async () => {
    const wcs = await startService();
    const { port, edge } = await startEdge({ WEIR_UPSTREAM_WCS_SIGNALLING: wcs.url });
    const client = connect(port, '127.0.0.1');
    client.on('error', () => undefined);
    client.write(handshake('/'));
    client.pause();
    await waitFor(() => edge.openSockets === 1);
    const socket = wcs.sockets[0]?.socket as WebSocket;
    for (let sent = 0; sent < FLOOD_BYTES; sent += CHUNK.length) socket.send(CHUNK);

    await waitFor(() => steady(() => socket.bufferedAmount));
    expect(socket.bufferedAmount).toBeGreaterThan(FLOOD_BYTES / 2);
    expect(edge.heldBytes).toBeLessThan(1024 * 1024);

    let received = 0;
    client.on('data', (chunk) => (received += chunk.length));
    client.resume();
    await waitFor(() => received >= FLOOD_BYTES);
    client.destroy();
  });

  it('reaches a client whose service does not read', async () => {
    const wcs = await startService({ onSocket: (socket) => socket.pause() });
    const { socketUrl, edge } = await startEdge({ WEIR_UPSTREAM_WCS_SIGNALLING: wcs.url });
    const socket = await open(socketUrl);
    for (let sent = 0; sent < FLOOD_BYTES; sent += CHUNK.length) socket.send(CHUNK);
    await waitFor(() => steady(() => socket.bufferedAmount));
    expect(socket.bufferedAmount).toBeGreaterThan(FLOOD_BYTES / 2);
    expect(edge.heldBytes).toBeLessThan(1024 * 1024);
  });
});

/** Whether a value stays the same for twenty turns of the event loop with I/O in between. */
async function steady(value: () => number): Promise<boolean> {
  const before = value();
  for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setTimeout(resolve, 5));
  return value() === before;
}

describe('a request that offers another protocol', () => {
  const offer = (method: string, path: string, body = '') =>
    `${method} ${path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\n` +
    `HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\nContent-Type: application/json\r\n` +
    `Content-Length: ${body.length}\r\n\r\n${body}`;

  it('is served, with its body, as if it did not offer one', async () => {
    const auth = await startService();
    const { port } = await startEdge({ WEIR_UPSTREAM_AUTH: auth.url });
    const answer = parseAnswer(await exchange(port, offer('POST', '/auth/', '{"username":"java"}')));
    expect(answer.statusCode).toBe(200);
    expect(auth.requests).toMatchObject([{ method: 'POST', url: '/auth/', body: '{"username":"java"}' }]);
    expect(auth.requests[0]?.headers).not.toHaveProperty('http2-settings');
  });

  it('is limited like every other request', async () => {
    const { port } = await startEdge({ WEIR_UPSTREAM_AUTH: 'http://127.0.0.1:9', WEIR_AUTH_REQUESTS_PER_MINUTE: '1' });
    expect(parseAnswer(await exchange(port, offer('POST', '/auth/'))).statusCode).toBe(503);
    expect(parseAnswer(await exchange(port, offer('POST', '/auth/'))).statusCode).toBe(429);
  });
});
