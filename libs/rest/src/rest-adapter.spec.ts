import { request as httpRequest } from 'node:http';
import { Body, Controller, Delete, Get, HttpCode, Module, Param, Post, Put } from '@nestjs/common';
import { APP_FILTER, NestFactory } from '@nestjs/core';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { ErrorCode, WeirError } from '@weir/contracts';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { RestErrorFilter } from './error-filter.js';
import { parsed } from './parsed.js';
import { restAdapter } from './rest-adapter.js';

const logged: { fields: object; message: string }[] = [];
const note = (fields: object, message: string) => void logged.push({ fields, message });

@Controller('doors')
class Doors {
  @Get()
  list(): string[] {
    return [];
  }

  @Post()
  @HttpCode(200)
  open(@Body() body: unknown) {
    return parsed(z.object({ name: z.string() }), body);
  }

  @Put(':door')
  change(@Param('door') door: string, @Body() body: unknown) {
    return { door, body: body ?? null };
  }

  @Delete(':door')
  @HttpCode(204)
  close(): undefined {
    return undefined;
  }

  @Get(':door/handle')
  handle(@Param('door') door: string): never {
    if (door === 'jammed') throw new WeirError(ErrorCode.UNAVAILABLE, 'Not now');
    throw new Error(`secret of ${door}`);
  }
}

@Module({
  controllers: [Doors],
  providers: [{ provide: APP_FILTER, useValue: new RestErrorFilter({ error: note, warn: note }) }],
})
class House {}

let app: NestFastifyApplication;

beforeAll(async () => {
  app = await NestFactory.create<NestFastifyApplication>(House, restAdapter({ maxBodyBytes: 1_000 }), {
    logger: false,
  });
  await app.listen(0, '127.0.0.1');
});
afterAll(() => app.close());
beforeEach(() => logged.splice(0));

type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE' | 'OPTIONS';
const ask = (method: Method, url: string, payload?: string | Buffer, headers: Record<string, string> = {}) =>
  app.inject({ method, url, headers, ...(payload === undefined ? {} : { payload }) });

describe('a body', () => {
  test.each([
    ['none', {}],
    ["curl -d's", { 'content-type': 'application/x-www-form-urlencoded' }],
    ["a browser's plain one", { 'content-type': 'text/plain;charset=UTF-8' }],
    ["a file's", { 'content-type': 'multipart/form-data' }],
    ['another charset', { 'content-type': 'application/json; charset=iso-8859-1' }],
    ['one that is not a type', { 'content-type': 'no type' }],
  ])('of JSON is accepted with the content type: %s', async (_what, headers) => {
    const { statusCode, body } = await ask('POST', '/doors', '{"name":"front"}', headers);
    expect([statusCode, body]).toEqual([200, '{"name":"front"}']);
  });

  test.each([
    ['a form', 'name=front'],
    ['a broken one', '{"name":'],
    ['a NUL', '{"name":"a\\u0000"}'],
    ['a prototype', '{"name":"a","__proto__":{}}'],
  ])('that is not usable JSON is refused with one error: %s', async (_what, payload) => {
    const response = await ask('POST', '/doors', payload, { 'content-type': 'application/json' });
    expect(response.statusCode).toBe(400);
    expect(response.json()).toEqual({
      error: { code: 'INVALID', message: expect.stringMatching(/^The body /), fields: {} },
    });
  });

  test.each([undefined, '', ' '])('that is empty (%j) is refused only by a handler that needs one', async (payload) => {
    const response = await ask('POST', '/doors', payload, { 'content-type': 'application/json' });
    expect(response.statusCode).toBe(400);
    expect(response.json().error).toMatchObject({ code: 'INVALID', fields: { body: expect.any(String) } });
    expect((await ask('PUT', '/doors/front', payload)).json()).toEqual({ door: 'front', body: null });
  });

  test('that is too large is refused', async () => {
    const response = await ask('POST', '/doors', JSON.stringify({ name: 'a'.repeat(1_000) }));
    expect(response.statusCode).toBe(413);
    expect(response.json()).toEqual({ error: { code: 'INVALID', message: expect.any(String), fields: {} } });
  });

  test('that breaks off causes no error', async () => {
    const socket = httpRequest(`${await app.getUrl()}/doors`, { method: 'POST', headers: { 'content-length': 100 } });
    socket.on('error', () => undefined);
    const server = app.getHttpServer();
    const arrived = new Promise((resolve) => server.once('request', resolve));
    socket.write('{"name":');
    await arrived;
    socket.destroy();
    await expect.poll(() => new Promise((resolve) => server.getConnections((_error, count) => resolve(count)))).toBe(0);
    expect(logged).toEqual([]);
  });
});

describe('DELETE', () => {
  test.each([
    ['nothing', undefined, {}],
    ['a content type and no body', undefined, { 'content-type': 'application/json' }],
    ['a content type and an empty body', '', { 'content-type': 'application/json', 'content-length': '0' }],
    ['an empty body in chunks', undefined, { 'content-type': 'application/json', 'transfer-encoding': 'chunked' }],
    ['a body that means nothing', 'x=1', { 'content-type': 'application/x-www-form-urlencoded' }],
  ])('does its work with %s', async (_what, payload, headers) => {
    expect((await ask('DELETE', '/doors/front', payload, headers)).statusCode).toBe(204);
  });
});

describe('a request without a route', () => {
  test.each([
    ['POST', '/doors/front/handle?token=secret', 'GET, HEAD'],
    ['GET', '/doors/front?token=secret', 'DELETE, PUT'],
    ['PATCH', '/doors/?token=secret', 'GET, HEAD, POST'],
    ['OPTIONS', '/doors?token=secret', 'GET, HEAD, POST'],
  ] as const)('is told the allowed methods: %s %s', async (method, url, allow) => {
    const response = await ask(method, url, method === 'GET' ? undefined : 'no JSON');
    expect([response.statusCode, response.headers.allow]).toEqual([405, allow]);
    expect(response.json()).toEqual({
      error: { code: 'INVALID', message: expect.stringContaining(allow), fields: {} },
    });
    expect(response.body).not.toContain('secret');
  });

  test.each([
    ['/gates?token=secret', 404],
    ['/doors/front/secret', 404],
    ['/doors/%zz?token=secret', 400],
    ['/doors/a%00b/handle?token=secret', 400],
  ])('is answered without its URL: %s', async (url, status) => {
    const response = await ask('GET', url);
    expect(response.statusCode).toBe(status);
    expect(response.json()).toEqual({ error: { code: expect.any(String), message: expect.any(String), fields: {} } });
    expect(response.body).not.toMatch(/secret|doors|gates|%/);
  });

  test('is not taken for one because a name in its path is long', async () => {
    const name = 'ü'.repeat(256);
    expect((await ask('PUT', `/doors/${encodeURIComponent(name)}/`)).json()).toMatchObject({ door: name });
  });
});

test('an unexpected error is logged without the query, and the client learns nothing of it', async () => {
  const response = await ask('GET', '/doors/front/handle?token=secret');
  expect(response.json()).toEqual({ error: { code: 'INTERNAL', message: expect.any(String), fields: {} } });
  expect(response.statusCode).toBe(500);
  expect(logged).toMatchObject([{ message: 'request failed', fields: { method: 'GET', path: '/doors/front/handle' } }]);
  expect((await ask('GET', '/doors/jammed/handle')).statusCode).toBe(503);
});
