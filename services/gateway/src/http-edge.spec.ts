import { request as httpRequest } from 'node:http';
import { startRedis, waitFor } from '@weir/testing';
import { afterEach, describe, expect, it } from 'vitest';
import { connectRedis, startEdge, stopEdges } from './testing/edge-under-test.js';
import { exchange, parseAnswer } from './testing/raw-http.js';
import { startService, stopServices, type ReceivedRequest } from './testing/service-stand-in.js';

afterEach(async () => {
  await stopEdges();
  await stopServices();
});

const echoed = async (response: Response) => (await response.json()) as ReceivedRequest;
const errorOf = async (response: Response) =>
  ((await response.json()) as { error: { code: string; message: string; requestId: string } }).error;
const post = (url: string, body: BodyInit | null, headers: Record<string, string> = {}) =>
  fetch(url, { method: 'POST', body, headers: { 'content-type': 'application/json', ...headers } });

describe('routing', () => {
  it('gives every path to the service that owns it, with query and body unchanged', async () => {
    const auth = await startService();
    const wcs = await startService();
    const { url } = await startEdge({ WEIR_UPSTREAM_AUTH: auth.url, WEIR_UPSTREAM_WCS_SIGNALLING: wcs.url });

    const login = await echoed(await post(`${url}/auth/?a=1&b=%20x&a=2`, '{"username": "ü"}'));
    expect(login).toMatchObject({ method: 'POST', url: '/auth/?a=1&b=%20x&a=2', body: '{"username": "ü"}' });
    await fetch(`${url}/auth`);
    await fetch(`${url}/auth_v2/login/x`);
    await fetch(`${url}/.well-known/jwks.json`);
    await fetch(`${url}/rest-api/stream/find_all`);
    await post(`${url}/rest-api/connection/find_all`, null);
    await post(`${url}/rest-api/data/send`, '{}');

    expect(auth.requests.map((request) => request.url)).toEqual([
      '/auth/?a=1&b=%20x&a=2',
      '/auth',
      '/auth_v2/login/x',
      '/.well-known/jwks.json',
    ]);
    expect(wcs.requests.map(({ method, url: path }) => `${method} ${path}`)).toEqual([
      'GET /rest-api/stream/find_all',
      'POST /rest-api/connection/find_all',
      'POST /rest-api/data/send',
    ]);
  });

  it('answers 404 as JSON for a path that no service owns, and for a service that is not installed', async () => {
    const { url } = await startEdge();
    const unknown = await post(`${url}/nothing/here`, '{}');
    expect(unknown.status).toBe(404);
    expect(await errorOf(unknown)).toMatchObject({ code: 'NOT_FOUND', requestId: unknown.headers.get('x-request-id') });
    const absent = await post(`${url}/rest-api/pull/push`, '{}');
    expect(absent.status).toBe(404);
    expect(await errorOf(absent)).toMatchObject({
      code: 'SERVICE_NOT_CONFIGURED',
      message: "relay-push isn't part of this installation",
    });
  });

  it('does not let a path climb out of its route', async () => {
    const auth = await startService();
    const { url, port } = await startEdge({ WEIR_UPSTREAM_AUTH: auth.url });
    for (const path of ['/auth/../internal', '/auth/%2e%2e/internal', '/auth/..%2finternal', '/auth/%zz']) {
      const answer = await exchange(port, `GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
      expect(parseAnswer(answer).statusCode, path).toBe(400);
    }
    expect(auth.requests).toEqual([]);
    expect((await fetch(`${url}/auth/fine`)).status).toBe(200);
  });

  it('passes on statuses, headers and bodies of the service, without its hop-by-hop headers', async () => {
    const auth = await startService({
      onRequest: (_request, response) => {
        response.writeHead(418, {
          'content-type': 'text/plain',
          'set-cookie': ['a=1', 'b=2'],
          connection: 'x-internal, keep-alive',
          'x-internal': 'secret',
          'x-request-id': 'of-the-service',
          'access-control-allow-origin': 'https://service.example',
        });
        response.end('short and stout');
      },
    });
    const { url } = await startEdge({ WEIR_UPSTREAM_AUTH: auth.url });
    const response = await fetch(`${url}/auth/tea`, { headers: { 'x-request-id': 'mine-1' } });
    expect(response.status).toBe(418);
    expect(await response.text()).toBe('short and stout');
    expect(response.headers.getSetCookie()).toEqual(['a=1', 'b=2']);
    expect(response.headers.get('x-internal')).toBeNull();
    expect(response.headers.get('x-request-id')).toBe('mine-1');
    expect(response.headers.get('access-control-allow-origin')).toBe('*');
  });
});

describe('what a service learns about the client', () => {
  it('gets the request id of the client if it is well formed, otherwise a new one', async () => {
    const auth = await startService();
    const { url } = await startEdge({ WEIR_UPSTREAM_AUTH: auth.url });
    const sane = await fetch(`${url}/auth/`, { headers: { 'x-request-id': 'trace-42.a_b:c' } });
    expect(sane.headers.get('x-request-id')).toBe('trace-42.a_b:c');
    expect((await echoed(sane)).headers['x-request-id']).toBe('trace-42.a_b:c');

    for (const insane of ['has space', '<script>', 'a'.repeat(129), '{"a":1}']) {
      const answer = await fetch(`${url}/auth/`, { headers: { 'x-request-id': insane } });
      const id = answer.headers.get('x-request-id');
      expect(id).toMatch(/^[0-9a-f-]{36}$/);
      expect((await echoed(answer)).headers['x-request-id']).toBe(id);
    }
  });

  it('never sees what a client claims in X-Forwarded-*, Forwarded or X-Real-IP', async () => {
    const auth = await startService();
    const { url, port } = await startEdge({ WEIR_UPSTREAM_AUTH: auth.url });
    const { headers } = await echoed(
      await fetch(`${url}/auth/`, {
        headers: {
          'x-forwarded-for': '203.0.113.9',
          'x-forwarded-proto': 'https',
          'x-forwarded-host': 'bank.example',
          forwarded: 'for=203.0.113.9',
          'x-real-ip': '203.0.113.9',
        },
      }),
    );
    expect(headers).toMatchObject({
      'x-forwarded-for': '127.0.0.1',
      'x-forwarded-proto': 'http',
      'x-forwarded-host': `127.0.0.1:${port}`,
    });
    expect(headers).toHaveProperty('forwarded', expect.stringMatching(/^for="127\.0\.0\.1:\d+"$/));
    expect(headers).not.toHaveProperty('x-real-ip');
  });

  it('sees the client behind trusted proxies, and not the addresses that the client made up', async () => {
    const auth = await startService();
    const { url } = await startEdge({ WEIR_UPSTREAM_AUTH: auth.url, WEIR_TRUSTED_PROXIES: '127.0.0.0/8, 10.0.0.0/8' });
    const { headers } = await echoed(
      await fetch(`${url}/auth/`, {
        headers: {
          'x-forwarded-for': '1.2.3.4, 198.51.100.7, 10.1.2.3',
          'x-forwarded-proto': 'https',
          'x-forwarded-host': 'video.example',
        },
      }),
    );
    expect(headers).toMatchObject({
      'x-forwarded-for': '198.51.100.7, 10.1.2.3, 127.0.0.1',
      'x-forwarded-proto': 'https',
      'x-forwarded-host': 'video.example',
    });
  });

  it('gets neither hop-by-hop headers, nor those that Connection names, nor Expect', async () => {
    const auth = await startService();
    const { port } = await startEdge({ WEIR_UPSTREAM_AUTH: auth.url });
    const answer = await exchange(
      port,
      'POST /auth/ HTTP/1.1\r\nHost: x\r\nConnection: close, x-private, x-forwarded-for\r\nX-Private: 1\r\n' +
        'Keep-Alive: timeout=9\r\nTE: trailers\r\nProxy-Authorization: Basic eA==\r\nExpect: 100-continue\r\n' +
        'Authorization: Bearer t\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}',
    );
    expect(answer).toMatch(/^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 /);
    const headers = auth.requests[0]?.headers ?? {};
    expect(headers).toMatchObject({ authorization: 'Bearer t', 'x-forwarded-for': '127.0.0.1' });
    for (const name of ['x-private', 'keep-alive', 'te', 'proxy-authorization', 'expect', 'transfer-encoding'])
      expect(headers, name).not.toHaveProperty(name);
  });
});

describe('bodies', () => {
  const limit = 1024 * 1024;

  it('takes a body of exactly the limit', async () => {
    const auth = await startService();
    const { url } = await startEdge({ WEIR_UPSTREAM_AUTH: auth.url });
    const response = await post(`${url}/auth/`, 'x'.repeat(limit));
    expect(response.status).toBe(200);
    expect((await echoed(response)).body).toHaveLength(limit);
  });

  it('refuses a body whose stated length is larger, without asking the service', async () => {
    const auth = await startService();
    const { url } = await startEdge({ WEIR_UPSTREAM_AUTH: auth.url });
    const response = await post(`${url}/auth/`, 'x'.repeat(limit + 1));
    expect(response.status).toBe(413);
    expect((await errorOf(response)).code).toBe('BODY_TOO_LARGE');
    expect(auth.requests).toEqual([]);
  });

  it('refuses a chunked body when it grows too large', async () => {
    const auth = await startService();
    const { port } = await startEdge({ WEIR_UPSTREAM_AUTH: auth.url });
    const status = await new Promise<number>((resolve, reject) => {
      const request = httpRequest({ port, host: '127.0.0.1', path: '/auth/', method: 'POST' });
      request.on('response', (response) => {
        response.resume();
        resolve(response.statusCode ?? 0);
      });
      request.on('error', reject);
      for (let sent = 0; sent <= limit; sent += 65_536) request.write('x'.repeat(65_536));
    });
    expect(status).toBe(413);
    expect(auth.requests).toEqual([]);
  });

  it('does not pass on the body of a GET request', async () => {
    const wcs = await startService();
    const { port } = await startEdge({ WEIR_UPSTREAM_WCS_SIGNALLING: wcs.url });
    const answer = await exchange(
      port,
      'GET /rest-api/stream/find_all HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody',
    );
    expect(parseAnswer(answer).statusCode).toBe(200);
    expect(wcs.requests[0]).toMatchObject({ method: 'GET', body: '' });
  });
});

describe('a service that fails', () => {
  it('leads to 503 while it is dead, and is used again as soon as it is back', async () => {
    const auth = await startService();
    const { url, log } = await startEdge({ WEIR_UPSTREAM_AUTH: auth.url });
    expect((await fetch(`${url}/auth/`)).status).toBe(200);
    await auth.kill();

    for (const response of [await fetch(`${url}/auth/`), await post(`${url}/auth/`, '{}')]) {
      expect(response.status).toBe(503);
      expect(response.headers.get('retry-after')).toBe('1');
      expect(response.headers.get('content-type')).toBe('application/json; charset=utf-8');
      expect(await errorOf(response)).toEqual({
        code: 'UPSTREAM_UNAVAILABLE',
        message: "auth can't be reached",
        requestId: response.headers.get('x-request-id'),
      });
    }
    await startService({ port: auth.port });
    expect((await fetch(`${url}/auth/`)).status).toBe(200);
    expect(log.map(({ message }) => message)).toEqual([
      ...['service does not answer', 'request refused', 'request refused'],
      'service answers again',
    ]);
  });

  it('leads to 504 if it is too slow', async () => {
    const auth = await startService({ onRequest: () => undefined });
    const { url } = await startEdge({ WEIR_UPSTREAM_AUTH: auth.url, WEIR_UPSTREAM_TIMEOUT_MS: '100' });
    const response = await fetch(`${url}/auth/`);
    expect(response.status).toBe(504);
    expect((await errorOf(response)).code).toBe('UPSTREAM_TIMEOUT');
  });

  it('leads to 502 if it closes the connection or answers nonsense', async () => {
    let asked = 0;
    const auth = await startService({
      onRequest: (request, response) => {
        asked += 1;
        if (request.url === '/auth/nonsense') response.socket?.end('this is no HTTP\r\n\r\n');
        else response.socket?.destroy();
      },
    });
    const { url } = await startEdge({ WEIR_UPSTREAM_AUTH: auth.url });
    const broken = await post(`${url}/auth/`, '{}');
    expect(broken.status).toBe(502);
    expect((await errorOf(broken)).code).toBe('UPSTREAM_FAILED');
    expect(asked, 'a POST is never sent twice').toBe(1);
    expect((await post(`${url}/auth/nonsense`, '{}')).status).toBe(502);
  });

  it('cuts the answer off when it dies in the middle of it', async () => {
    const auth = await startService({
      onRequest: (_request, response) => {
        response.writeHead(200, { 'content-length': 100 });
        response.write('half');
        setImmediate(() => response.socket?.destroy());
      },
    });
    const { url } = await startEdge({ WEIR_UPSTREAM_AUTH: auth.url });
    const response = await fetch(`${url}/auth/`);
    await expect(response.text()).rejects.toThrow();
  });

  it('can answer 503 itself, which is passed on without a retry', async () => {
    let asked = 0;
    const auth = await startService({
      onRequest: (_request, response) => {
        asked += 1;
        response.writeHead(503).end('not now');
      },
    });
    const { url } = await startEdge({ WEIR_UPSTREAM_AUTH: auth.url });
    const response = await fetch(`${url}/auth/`);
    expect([response.status, await response.text(), asked]).toEqual([503, 'not now', 1]);
  });

  it('gets no more requests at the same time than the limit', async () => {
    const waiting: (() => void)[] = [];
    const auth = await startService({ onRequest: (_request, response) => waiting.push(() => response.end('done')) });
    const { url } = await startEdge({ WEIR_UPSTREAM_AUTH: auth.url, WEIR_UPSTREAM_MAX_IN_FLIGHT: '2' });
    const busy = [fetch(`${url}/auth/`), fetch(`${url}/auth/`)];
    await waitFor(() => waiting.length === 2);
    const third = await fetch(`${url}/auth/`);
    expect(third.status).toBe(503);
    expect((await errorOf(third)).code).toBe('OVERLOADED');
    for (const finish of waiting) finish();
    for (const response of await Promise.all(busy)) expect(response.status).toBe(200);
    const fourth = fetch(`${url}/auth/`);
    await waitFor(() => waiting.length === 3);
    waiting[2]?.();
    expect((await fourth).status).toBe(200);
  });
});

describe('CORS', () => {
  const preflight = (url: string, origin: string) =>
    fetch(url, {
      method: 'OPTIONS',
      headers: {
        origin,
        'access-control-request-method': 'POST',
        'access-control-request-headers': 'authorization,content-type',
      },
    });

  it('lets pages of every origin call the REST interfaces, without credentials, by default', async () => {
    const wcs = await startService();
    const { url } = await startEdge({ WEIR_UPSTREAM_WCS_SIGNALLING: wcs.url });
    const answer = await preflight(`${url}/rest-api/stream/find`, 'https://any.example');
    expect(answer.status).toBe(204);
    expect(answer.headers.get('access-control-allow-origin')).toBe('*');
    expect(answer.headers.get('access-control-allow-headers')).toBe('authorization,content-type');
    expect(answer.headers.get('access-control-allow-credentials')).toBeNull();
    expect(wcs.requests).toEqual([]);
    const call = await fetch(`${url}/rest-api/stream/find_all`, { headers: { origin: 'https://any.example' } });
    expect(call.headers.get('access-control-allow-origin')).toBe('*');
  });

  it('lets only the configured origins call, with credentials', async () => {
    const wcs = await startService();
    const { url } = await startEdge({
      WEIR_UPSTREAM_WCS_SIGNALLING: wcs.url,
      WEIR_CORS_ORIGINS: 'https://a.example, https://b.example',
    });
    const named = await preflight(`${url}/rest-api/stream/find`, 'https://b.example');
    expect(named.headers.get('access-control-allow-origin')).toBe('https://b.example');
    expect(named.headers.get('access-control-allow-credentials')).toBe('true');
    expect(named.headers.get('vary')?.toLowerCase()).toContain('origin');
    const other = await preflight(`${url}/rest-api/stream/find`, 'https://c.example');
    expect(other.headers.get('access-control-allow-origin')).not.toBe('https://c.example');
    const call = await fetch(`${url}/rest-api/stream/find_all`, { headers: { origin: 'https://c.example' } });
    expect(call.headers.get('access-control-allow-origin')).toBeNull();
  });

  it('shows errors to the calling page too', async () => {
    const { url } = await startEdge({ WEIR_UPSTREAM_AUTH: 'http://127.0.0.1:9' });
    const response = await fetch(`${url}/auth/`, { headers: { origin: 'https://any.example' } });
    expect(response.status).toBe(503);
    expect(response.headers.get('access-control-allow-origin')).toBe('*');
  });
});

describe('rate limits', () => {
  it('count the requests of all instances together in Redis, separately for each class', async () => {
    const redisServer = await startRedis();
    try {
      const auth = await startService();
      const env = { WEIR_UPSTREAM_AUTH: auth.url, WEIR_AUTH_REQUESTS_PER_MINUTE: '3' };
      const one = await startEdge(env, await ready(redisServer.url));
      const two = await startEdge(env, await ready(redisServer.url));
      const statuses: number[] = [];
      for (const { url } of [one, two, one, two]) statuses.push((await post(`${url}/auth/`, '{}')).status);
      expect(statuses).toEqual([200, 200, 200, 429]);

      const refused = await post(`${one.url}/auth/`, '{}');
      expect((await errorOf(refused)).code).toBe('RATE_LIMITED');
      expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
      expect(auth.requests).toHaveLength(3);
      expect((await fetch(`${one.url}/.well-known/jwks.json`)).status).toBe(200);
    } finally {
      await redisServer.stop();
    }
  });

  it('are counted in memory when Redis dies, and in Redis again when it is back', async () => {
    const redisServer = await startRedis();
    try {
      const auth = await startService();
      const redis = await ready(redisServer.url);
      const { url } = await startEdge({ WEIR_UPSTREAM_AUTH: auth.url, WEIR_AUTH_REQUESTS_PER_MINUTE: '2' }, redis);
      expect((await fetch(`${url}/auth/`)).status).toBe(200);
      await redisServer.kill();

      const statuses: number[] = [];
      for (let count = 0; count < 3; count += 1) statuses.push((await fetch(`${url}/auth/`)).status);
      expect(statuses).toEqual([200, 200, 429]);

      await redisServer.restart();
      await waitFor(() => redis.status === 'ready');
      await waitFor(async () => {
        await fetch(`${url}/auth/`);
        return Number(await redis.get('gateway:rate:auth:127.0.0.1')) > 1;
      });
    } finally {
      await redisServer.stop();
    }
  });

  it('count the client behind a trusted proxy, and ignore addresses that a client makes up', async () => {
    const auth = await startService();
    const limits = { WEIR_UPSTREAM_AUTH: auth.url, WEIR_AUTH_REQUESTS_PER_MINUTE: '1' };
    const from = (url: string, address: string) => fetch(`${url}/auth/`, { headers: { 'x-forwarded-for': address } });

    const behindProxy = await startEdge({ ...limits, WEIR_TRUSTED_PROXIES: '127.0.0.1' });
    expect((await from(behindProxy.url, '198.51.100.1')).status).toBe(200);
    expect((await from(behindProxy.url, '198.51.100.2')).status).toBe(200);
    expect((await from(behindProxy.url, '198.51.100.1')).status).toBe(429);
    expect((await from(behindProxy.url, '2001:db8:1:2::3')).status).toBe(200);
    expect((await from(behindProxy.url, '2001:db8:1:2:ffff::4')).status).toBe(429);

    const direct = await startEdge(limits);
    expect((await from(direct.url, '198.51.100.1')).status).toBe(200);
    expect((await from(direct.url, '198.51.100.2')).status).toBe(429);
  });
});

async function ready(url: string) {
  const redis = connectRedis(url);
  await waitFor(() => redis.status === 'ready');
  return redis;
}

describe('the first page', () => {
  it('is served with a strict content policy and revalidated by ETag', async () => {
    const { url, port } = await startEdge();
    const page = await fetch(`${url}/`);
    expect(page.status).toBe(200);
    expect(page.headers.get('content-type')).toContain('text/html');
    const policy = page.headers.get('content-security-policy') ?? '';
    expect(policy).toContain("default-src 'none'");
    expect(policy).not.toContain('unsafe');
    const etag = page.headers.get('etag') ?? '';
    const again = await exchange(
      port,
      `GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nIf-None-Match: ${etag}\r\n\r\n`,
    );
    expect(parseAnswer(again)).toMatchObject({ statusCode: 304, body: '' });
  });

  it('serves nothing but its own files', async () => {
    const { port } = await startEdge();
    for (const path of ['/../package.json', '/%2e%2e/package.json', '/package.json', '//etc/passwd']) {
      const answer = await exchange(port, `GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
      expect(parseAnswer(answer).statusCode, path).toBe(404);
    }
  });
});
