import { execFileSync } from 'node:child_process';
import { copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { request as httpRequest } from 'node:http';
import { connect as connectHttp2 } from 'node:http2';
import { Agent, request as httpsRequest } from 'node:https';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { freePort, waitFor } from '@weir/testing';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { listeningPorts } from './listening-ports.js';
import { startEdge, stopEdges } from './testing/edge-under-test.js';
import { exchange, parseAnswer } from './testing/raw-http.js';
import { startService, stopServices } from './testing/service-stand-in.js';

let directory = '';

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'weir-gateway-'));
  makeCertificate('first');
  makeCertificate('second');
});
afterAll(() => rm(directory, { recursive: true }));
afterEach(async () => {
  await stopEdges();
  await stopServices();
});

const file = (name: string) => join(directory, name);

function makeCertificate(name: string): void {
  execFileSync(
    'openssl',
    ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2']
      .concat(['-subj', `/CN=${name}`, '-addext', 'subjectAltName=IP:127.0.0.1'])
      .concat(['-keyout', file(`${name}.key`), '-out', file(`${name}.crt`)]),
    { stdio: 'ignore' },
  );
}

describe('the ports', () => {
  it('are one, and a second for TLS if there is a certificate', () => {
    const ports = { http: 8080, https: 8443 };
    expect(listeningPorts(ports, 'off', false).map(({ port, scheme }) => [port, scheme])).toEqual([[8080, 'http']]);
    expect(listeningPorts(ports, 'off', true).map(({ port, scheme }) => [port, scheme])).toEqual([
      [8080, 'http'],
      [8443, 'https'],
    ]);
  });

  it('include those of the original documents on request, each once', () => {
    expect(
      listeningPorts({ http: 8080, https: 8443 }, 'on', true).map(({ port, scheme }) => `${scheme} ${port}`),
    ).toEqual(['http 8080', 'https 8443', 'http 8081', 'https 8444', 'http 9091', 'https 8888']);
    expect(listeningPorts({ http: 80, https: 443 }, 'on', true).map(({ port }) => port)).toEqual([
      80, 443, 8080, 8443, 8081, 8444, 9091, 8888,
    ]);
    expect(listeningPorts({ http: 80, https: 443 }, 'on', false).map(({ port }) => port)).toEqual([
      80, 8080, 8081, 9091,
    ]);
  });

  it('fail with the setting to change if one is taken, and leave none open', async () => {
    const taken = await startService();
    await expect(startEdge({ WEIR_HTTP_PORT: String(taken.port) })).rejects.toThrow(
      `WEIR_HTTP_PORT: port ${taken.port} (HTTP and WebSocket) is already in use on 127.0.0.1; set WEIR_HTTP_PORT to another port`,
    );
    const free = await freePort();
    await expect(
      startEdge({
        WEIR_HTTP_PORT: String(free),
        WEIR_HTTPS_PORT: String(taken.port),
        WEIR_TLS_CERT: file('first.crt'),
        WEIR_TLS_KEY: file('first.key'),
      }),
    ).rejects.toThrow(/^WEIR_HTTPS_PORT: port \d+ .* is already in use/);
    await startService({ port: free });
  });

  it('fail with the address if this machine does not have it', async () => {
    await expect(startEdge({ WEIR_HTTP_HOST: '192.0.2.1' })).rejects.toThrow(
      "WEIR_HTTP_HOST: 192.0.2.1 isn't an address of this machine",
    );
  });
});

describe('TLS', () => {
  const files = () => ({ WEIR_TLS_CERT: file('live.crt'), WEIR_TLS_KEY: file('live.key') });
  const install = (name: string) =>
    Promise.all([copyFile(file(`${name}.crt`), file('live.crt')), copyFile(file(`${name}.key`), file('live.key'))]);
  const presentedName = (port: number) =>
    new Promise<unknown>((resolve, reject) => {
      const socket: TLSSocket = connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false }, () => {
        resolve(socket.getPeerCertificate().subject.CN);
        socket.end();
      });
      socket.once('error', reject);
    });

  it('serves HTTP and WebSockets, and tells the service that the client used TLS', async () => {
    await install('first');
    const wcs = await startService();
    const { listeners } = await startEdge({ ...files(), WEIR_UPSTREAM_WCS_SIGNALLING: wcs.url });
    const port = listeners.find(({ scheme }) => scheme === 'https')?.port ?? 0;
    const status = await new Promise<number>((resolve, reject) => {
      const agent = new Agent({ rejectUnauthorized: false });
      httpsRequest({ port, host: '127.0.0.1', path: '/rest-api/stream/find_all', agent }, (response) => {
        response.resume().once('end', () => resolve(response.statusCode ?? 0));
      })
        .once('error', reject)
        .end();
    });
    expect(status).toBe(200);
    expect(wcs.requests[0]?.headers['x-forwarded-proto']).toBe('https');

    const socket = new WebSocket(`wss://127.0.0.1:${port}/`, { rejectUnauthorized: false });
    const echoed = new Promise<string>((resolve, reject) => {
      socket.once('error', reject);
      socket.once('message', (data: Buffer) => resolve(data.toString()));
    });
    socket.once('open', () => socket.send('over TLS'));
    expect(await echoed).toBe('over TLS');
    expect(wcs.sockets[0]?.handshake.headers['x-forwarded-proto']).toBe('https');
    socket.terminate();
  });

  it('serves many HTTP/2 requests on one connection, and ends the connection when it drains', async () => {
    await install('first');
    const wcs = await startService();
    const { listeners, edge } = await startEdge({ ...files(), WEIR_UPSTREAM_WCS_SIGNALLING: wcs.url });
    const port = listeners.find(({ scheme }) => scheme === 'https')?.port ?? 0;
    const session = connectHttp2(`https://localhost:${port}`, { rejectUnauthorized: false });
    session.on('error', () => undefined);
    const ask = (headers: Record<string, string>, body = '') =>
      new Promise<{ status: number; text: string }>((resolve, reject) => {
        const stream = session.request(headers, { endStream: body === '' });
        let [status, text] = [0, ''];
        stream.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
        stream.on('response', (answer) => (status = answer[':status'] ?? 0));
        stream.on('end', () => resolve({ status, text })).on('error', reject);
        if (body !== '') stream.end(body);
      });
    const path = '/rest-api/stream/find_all?x=1';
    const answers = await Promise.all([
      ask({ ':path': '/' }),
      ask({ ':path': path, 'x-forwarded-for': '203.0.113.9' }),
      ask({ ':path': path, ':method': 'POST', 'content-type': 'application/json' }, '{"a":1}'),
      ask({ ':path': path, ':method': 'DELETE' }),
      ask({ ':path': '/nothing/here' }),
    ]);
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200, 404]);
    expect(answers[0]?.text).toContain('<html');
    expect(JSON.parse(answers[2]?.text ?? '')).toMatchObject({
      method: 'POST',
      url: path,
      body: '{"a":1}',
      headers: {
        'x-forwarded-proto': 'https',
        'x-forwarded-host': `localhost:${port}`,
        'x-forwarded-for': '127.0.0.1',
      },
    });

    const half = session.request({ ':path': path, ':method': 'POST', 'content-length': '100' });
    half.on('error', () => undefined);
    half.write('{');
    half.close(8);
    expect((await ask({ ':path': path })).status).toBe(200);
    expect(wcs.requests).toHaveLength(4);
    await edge.drain();
    await waitFor(() => session.closed);
  });

  it('uses a renewed certificate without a restart, and keeps the old one while the new one is broken', async () => {
    await install('first');
    const { listeners, edge, log } = await startEdge(files());
    const port = listeners.find(({ scheme }) => scheme === 'https')?.port ?? 0;
    expect(await presentedName(port)).toBe('first');

    await copyFile(file('second.crt'), file('live.crt'));
    await edge.reloadCertificate();
    expect(await presentedName(port)).toBe('first');
    expect(log.at(-1)?.message).toBe('the new certificate is not usable; the old one stays in use');

    await copyFile(file('second.key'), file('live.key'));
    await waitFor(async () => (await presentedName(port)) === 'second', { intervalMs: 100 });
  });

  it('says at start which certificate can’t be used', async () => {
    await install('first');
    await writeFile(file('live.key'), 'no key');
    await expect(startEdge(files())).rejects.toThrow(
      /WEIR_TLS_CERT=.*live\.crt, WEIR_TLS_KEY=.*live\.key can't be used/,
    );
    await expect(startEdge({ WEIR_TLS_CERT: file('live.crt') })).rejects.toThrow('WEIR_TLS_KEY: is not set');
  });
});

describe('a client that breaks the rules of HTTP', () => {
  const twoLengths = 'Content-Length: 4\r\nContent-Length: 5\r\n';
  const lengthAndChunks = 'Content-Length: 4\r\nTransfer-Encoding: chunked\r\n';
  const hidden = 'GET /rest-api/stream/find_all HTTP/1.1\r\nHost: x\r\n\r\n';
  it.each([
    ['two lengths', `POST /auth/ HTTP/1.1\r\nHost: x\r\n${twoLengths}\r\nabcd${hidden}`],
    ['a length and chunks', `POST /auth/ HTTP/1.1\r\nHost: x\r\n${lengthAndChunks}\r\n0\r\n\r\n${hidden}`],
    ['an unknown encoding', `POST /auth/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n${hidden}`],
    [
      'a blank before the colon',
      `POST /auth/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n${hidden}`,
    ],
    ['a folded header', `POST /auth/ HTTP/1.1\r\nHost: x\r\nX-A: 1\r\n Content-Length: 4\r\n\r\nabcd${hidden}`],
    ['bare line feeds', `POST /auth/ HTTP/1.1\nHost: x\nContent-Length: 4\n\nabcd${hidden}`],
    [
      'a wrong chunk size',
      `POST /auth/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0x4\r\nabcd\r\n0\r\n\r\n${hidden}`,
    ],
    ['no host', `GET /auth/ HTTP/1.1\r\n\r\n`],
  ])('is refused and cut off, and no smuggled request reaches a service: %s', async (_what, bytes) => {
    const auth = await startService();
    const wcs = await startService();
    const { port } = await startEdge({ WEIR_UPSTREAM_AUTH: auth.url, WEIR_UPSTREAM_WCS_SIGNALLING: wcs.url });
    const answer = await exchange(port, bytes);
    expect(parseAnswer(answer).statusCode).toBe(400);
    expect(answer.match(/HTTP\/1\.1 /g)).toHaveLength(1);
    expect([auth.requests, wcs.requests]).toEqual([[], []]);
  });

  it('gets a JSON error for headers that are too large', async () => {
    const { port } = await startEdge();
    const answer = parseAnswer(await exchange(port, `GET / HTTP/1.1\r\nHost: x\r\nX-A: ${'a'.repeat(17_000)}\r\n\r\n`));
    expect(answer.statusCode).toBe(431);
    expect(JSON.parse(answer.body)).toMatchObject({ error: { code: 'HEADERS_TOO_LARGE' } });
  });

  it('is cut off if it sends its headers or its body byte by byte', async () => {
    const auth = await startService();
    const { port } = await startEdge({
      WEIR_UPSTREAM_AUTH: auth.url,
      WEIR_HEADERS_TIMEOUT_MS: '200',
      WEIR_REQUEST_TIMEOUT_MS: '400',
    });
    for (const start of [
      'GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ',
      'POST /auth/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n',
    ]) {
      const socket = connect(port, '127.0.0.1');
      socket.on('error', () => undefined);
      let answer = '';
      socket.setEncoding('latin1').on('data', (text: string) => (answer += text));
      const closed = new Promise((resolve) => socket.once('close', resolve));
      socket.write(start);
      const drops = setInterval(() => socket.write('x'), 20);
      await closed;
      clearInterval(drops);
      expect(parseAnswer(answer).statusCode).toBe(408);
    }
  });
});

describe('draining', () => {
  it('finishes the requests in progress, ends WebSockets and accepts nothing new', async () => {
    const waiting: (() => void)[] = [];
    const auth = await startService({ onRequest: (_request, response) => waiting.push(() => response.end('done')) });
    const wcs = await startService();
    const { edge, port, socketUrl, url } = await startEdge({
      WEIR_UPSTREAM_AUTH: auth.url,
      WEIR_UPSTREAM_WCS_SIGNALLING: wcs.url,
    });
    const socket = new WebSocket(socketUrl);
    await new Promise((resolve) => socket.once('open', resolve));
    const socketClosed = new Promise((resolve) => socket.once('close', resolve));
    const inWork = fetch(`${url}/auth/`);
    await waitFor(() => waiting.length === 1);

    let drained = false;
    const drain = edge.drain().then(() => (drained = true));
    await socketClosed;
    await waitFor(() => refusesConnections(port));
    expect(drained).toBe(false);
    waiting[0]?.();
    expect(await (await inWork).text()).toBe('done');
    await drain;
    expect(edge.openSockets).toBe(0);
  });

  it('does not wait for idle connections, and close cuts off what does not end', async () => {
    let asked = false;
    const auth = await startService({ onRequest: () => (asked = true) });
    const { edge, port } = await startEdge({ WEIR_UPSTREAM_AUTH: auth.url });
    const idle = connect(port, '127.0.0.1');
    const idleClosed = new Promise((resolve) => idle.once('close', resolve));
    await new Promise((resolve) => idle.once('connect', resolve));
    const stuck = httpRequest({ port, host: '127.0.0.1', path: '/auth/' });
    const stuckEnded = new Promise((resolve) => stuck.once('error', resolve));
    stuck.end();
    await waitFor(() => asked);
    idle.resume();
    void edge.drain();
    await idleClosed;
    await edge.close();
    await stuckEnded;
  });
});

const refusesConnections = (port: number) =>
  new Promise<boolean>((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => {
      socket.destroy();
      resolve(false);
    });
    socket.once('error', () => resolve(true));
  });
