import { connect } from 'node:net';
import { waitFor } from '@weir/testing';
import { afterEach, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { startEdge, stopEdges, type EdgeUnderTest } from './testing/edge-under-test.js';
import { exchange } from './testing/raw-http.js';
import { startService, stopServices } from './testing/service-stand-in.js';

afterEach(async () => {
  await stopEdges();
  await stopServices();
});

const linesOf = ({ log }: EdgeUnderTest) =>
  log.filter(({ message }) => / refused$/.test(message)).map(({ fields }) => fields as Record<string, unknown>);

async function upgrade(url: string, headers: Record<string, string> = {}): Promise<void> {
  const socket = new WebSocket(url, { headers });
  await new Promise((resolve) => socket.once('error', resolve).once('unexpected-response', resolve));
  socket.on('error', () => undefined).terminate();
}

interface Refused {
  env?: Record<string, string>;
  ask: (edge: EdgeUnderTest) => Promise<unknown>;
  line: Record<string, unknown>;
}

const SECRET = 'token=s3cret';
const strange = { origin: 'https://elsewhere.example' };

const refusals: [string, Refused][] = [
  [
    'an unknown path',
    {
      ask: ({ url }) => fetch(`${url}/none?${SECRET}`),
      line: { status: 404, code: 'NOT_FOUND', method: 'GET', path: '/none' },
    },
  ],
  [
    'a path that is not percent-encoded text',
    { ask: ({ url }) => fetch(`${url}/auth/%ff?${SECRET}`), line: { status: 400, path: '/auth/%ff' } },
  ],
  [
    'too many requests from an address',
    {
      env: { WEIR_AUTH_REQUESTS_PER_MINUTE: '1' },
      ask: async ({ url }) => {
        await fetch(`${url}/auth/?${SECRET}`);
        await fetch(`${url}/auth/?${SECRET}`);
      },
      line: { status: 429, code: 'RATE_LIMITED', path: '/auth/', reason: 'too many requests from this address' },
    },
  ],
  [
    'a body that is too large',
    {
      ask: ({ url }) => fetch(`${url}/auth/?${SECRET}`, { method: 'POST', body: 'x'.repeat(3_000_000) }),
      line: { status: 413, code: 'BODY_TOO_LARGE', method: 'POST', path: '/auth/' },
    },
  ],
  [
    'a page of another site',
    {
      ask: ({ url }) => fetch(`${url}/auth/?${SECRET}`, { method: 'POST', body: '{}', headers: strange }),
      line: { status: 403, code: 'ORIGIN_NOT_ALLOWED', page: strange.origin },
    },
  ],
  [
    'a name that is not the gateway’s',
    {
      ask: ({ port }) =>
        exchange(port, `GET /auth/?${SECRET} HTTP/1.1\r\nHost: rebound.example\r\nConnection: close\r\n\r\n`),
      line: { status: 421, code: 'HOST_NOT_ALLOWED', host: 'rebound.example' },
    },
  ],
  [
    'bytes that are no request',
    { ask: ({ port }) => exchange(port, 'HELO\r\n\r\n'), line: { status: 400, code: 'BAD_REQUEST' } },
  ],
  [
    'too many connections from an address',
    {
      env: { WEIR_CONNECTIONS_PER_ADDRESS: '1', WEIR_SOCKETS_PER_ADDRESS: '1' },
      ask: async ({ port }) => {
        const sockets = [1, 2, 3].map(() => connect(port, '127.0.0.1').on('error', () => undefined));
        await waitFor(() => sockets.some(({ closed }) => closed));
        for (const socket of sockets) socket.destroy();
      },
      line: { status: 429, reason: 'too many connections from this address at the same time' },
    },
  ],
  [
    'a WebSocket of another site’s page',
    {
      ask: ({ socketUrl }) => upgrade(`${socketUrl}/?${SECRET}`, strange),
      line: { status: 403, code: 'ORIGIN_NOT_ALLOWED', path: '/', page: strange.origin },
    },
  ],
  [
    'a WebSocket on a path that accepts none',
    { ask: ({ socketUrl }) => upgrade(`${socketUrl}/auth/?${SECRET}`), line: { status: 400, path: '/auth/' } },
  ],
  [
    'a WebSocket to a service that can’t be reached',
    {
      env: { WEIR_UPSTREAM_WCS_SIGNALLING: 'http://127.0.0.1:9' },
      ask: ({ socketUrl }) => upgrade(`${socketUrl}/?${SECRET}`),
      line: { status: 503, code: 'UPSTREAM_UNAVAILABLE' },
    },
  ],
];

describe('one log line says who was refused, what was asked and why', () => {
  it.each(refusals)('%s', async (_what, { env = {}, ask, line }) => {
    const auth = await startService();
    const edge = await startEdge({
      WEIR_UPSTREAM_AUTH: auth.url,
      WEIR_CORS_ORIGINS: 'local',
      WEIR_ALLOWED_HOSTS: 'local',
      ...env,
    });
    await ask(edge);
    await waitFor(() => linesOf(edge).length > 0);
    expect(linesOf(edge)).toEqual([
      expect.objectContaining({ address: '127.0.0.1', reason: expect.stringMatching(/\w/), ...line }),
    ]);
    expect(JSON.stringify(edge.log)).not.toContain('s3cret');
  });
});

it('a flood of refusals leaves few lines, and the next one counts the others', async () => {
  const edge = await startEdge();
  const asked = 300;
  for (let sent = 0; sent < asked; sent += 50)
    await Promise.all(Array.from({ length: 50 }, () => fetch(`${edge.url}/none`)));
  const counted = () =>
    linesOf(edge).reduce((sum, { leftOut }) => sum + 1 + (typeof leftOut === 'number' ? leftOut : 0), 0);
  let more = 0;
  await waitFor(async () => {
    more += 1;
    await fetch(`${edge.url}/none`);
    return counted() === asked + more;
  });
  expect(linesOf(edge).some(({ leftOut }) => typeof leftOut === 'number' && leftOut > 0)).toBe(true);
  expect(linesOf(edge).length).toBeLessThan(asked);
});
