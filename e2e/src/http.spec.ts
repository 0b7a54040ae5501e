import { statSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { waitFor } from '@weir/testing';
import { describe, expect, inject, it } from 'vitest';
import { WcsSocket } from './wcs-socket.js';

const { httpUrl, dataDir, username, password, operatorKey } = inject('platform');

const post = (path: string, body: unknown, headers: Record<string, string> = {}) =>
  fetch(httpUrl + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });
const asOperator = { authorization: `Bearer ${operatorKey}` };

describe('the platform over HTTP', () => {
  it('reports that every service is healthy', async () => {
    const response = await fetch(`${httpUrl}/healthz`);
    expect(response.status).toBe(200);
    const { services } = (await response.json()) as { services: Record<string, { status: string }> };
    for (const name of ['auth', 'media', 'wcs-signalling']) expect(services[name]).toMatchObject({ status: 'ok' });
  });

  it('has a first page', async () => {
    const response = await fetch(`${httpUrl}/`);
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toContain('text/html');
    expect(await response.text()).toContain('<video');
  });

  it('lets only the owner read its credentials', () => {
    const path = join(dataDir, 'credentials.json');
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(JSON.parse(readFileSync(path, 'utf8'))).toMatchObject({ user: { username, password } });
  });

  it('answers a log-in as the original document shows it', async () => {
    const response = await post('/auth/', { username, password });
    expect(response.status).toBe(200);
    expect(await response.json()).toEqual({
      err: { ec: 0, em: 'ok' },
      ret: {
        token: expect.any(String),
        expire: expect.stringMatching(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}[+-]\d\d$/),
      },
      ext: null,
      ebd: null,
    });
  });

  it('gives the same answer for a wrong password and for an unknown user', async () => {
    const answers = await Promise.all(
      [
        { username, password: 'wrong' },
        { username: 'nobody@nowhere', password },
      ].map(async (body) => {
        const response = await post('/auth/', body);
        return { status: response.status, body: await response.json() };
      }),
    );
    expect(answers[0]?.status).toBe(401);
    expect(answers[0]).toEqual(answers[1]);
  });

  it('lists sessions and streams only for an operator', async () => {
    expect((await post('/rest-api/connection/find_all', {})).status).toBe(401);
    const socket = await WcsSocket.connect(httpUrl.replace('http:', 'ws:'));
    const connections = await post('/rest-api/connection/find_all', {}, asOperator);
    expect(connections.status).toBe(200);
    expect(((await connections.json()) as unknown[]).length).toBeGreaterThan(0);
    expect((await post('/rest-api/stream/find', { name: 'no such stream' }, asOperator)).status).toBe(404);
    socket.close();
  });

  it('ends a connection when an operator asks for it', async () => {
    const socket = await WcsSocket.connect(httpUrl.replace('http:', 'ws:'));
    const list = await post('/rest-api/connection/find_all', {}, asOperator);
    const connections = (await list.json()) as { sessionId: string }[];
    const { authToken } = (await socket.wait('getUserData')) as { authToken: string };
    expect(connections.map(({ sessionId }) => sessionId)).toContain(authToken);
    expect((await post('/rest-api/connection/terminate', { sessionId: authToken }, asOperator)).status).toBe(200);
    await waitFor(() => socket.closeCode !== undefined);
  });

  it.each([
    ['curl -d', 'application/x-www-form-urlencoded'],
    ['a browser', 'text/plain;charset=UTF-8'],
  ])('accepts JSON on every path of the original documents with the content type of %s', async (_what, type) => {
    const send = (path: string, body: object, key?: string) =>
      fetch(httpUrl + path, {
        method: 'POST',
        headers: { 'content-type': type, ...(key === undefined ? {} : { authorization: `Bearer ${key}` }) },
        body: new TextEncoder().encode(JSON.stringify(body)),
      });
    expect((await send('/auth/', { username, password })).status).toBe(200);
    const minted = await send('/auth/tokens', { subject: 'door', ttlS: 60, role: 'viewer' }, operatorKey);
    const { token } = (await minted.json()) as { token: string };
    expect(await (await send('/stream/', { stream: 'nowhere' }, token)).json()).toMatchObject({ err: { ec: 404 } });
    for (const path of ['stream/find', 'stream/terminate', 'pull/terminate']) {
      const filter = path.startsWith('pull') ? { localStreamName: 'nowhere' } : { name: 'nowhere' };
      const response = await send(`/rest-api/${path}`, filter, operatorKey);
      expect([path, response.status, await response.json()]).toEqual([
        path,
        404,
        { error: { code: 'NOT_FOUND', message: expect.any(String), fields: {} } },
      ]);
    }
    const made = await send('/channel/robots', { id: 'typeless' }, operatorKey);
    expect(made.status).toBe(201);
    const removed = await fetch(`${httpUrl}/channel/robots/typeless`, {
      method: 'DELETE',
      headers: { authorization: `Bearer ${operatorKey}`, 'content-type': 'application/json' },
    });
    expect(removed.status).toBe(204);
  });

  it.each([
    ['/auth/', { err: { ec: 103 } }],
    ['/stream/', { err: { ec: 103 } }],
    ['/auth/tokens', { error: { code: 'INVALID' } }],
    ['/rest-api/stream/find', { error: { code: 'INVALID' } }],
    ['/rest-api/pull/push', { error: { code: 'INVALID' } }],
    ['/channel/robots', { error: { code: 'INVALID' } }],
  ])('says that a body must be JSON, in the error format of %s', async (path, shape) => {
    const response = await post(path, 'a=b', { ...asOperator, 'content-type': 'application/x-www-form-urlencoded' });
    expect(response.status).toBe(400);
    const text = await response.text();
    expect(JSON.parse(text)).toMatchObject(shape);
    expect(text).toContain('must be JSON in UTF-8');
  });

  it('answers an unknown path with an error that has a code', async () => {
    const response = await fetch(`${httpUrl}/no/such/thing`);
    expect(response.status).toBe(404);
    expect(await response.json()).toMatchObject({ error: { code: expect.any(String) } });
  });
});
