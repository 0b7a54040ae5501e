import { Controller, Get, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import { ErrorCode, WeirError } from '@weir/contracts';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Access, type Principal } from '@weir/access';
import { Authenticated, CurrentPrincipal } from './guard.js';

/** Knows the holder of `good`, is unavailable for `later`, and refuses every other credential. */
const directory: Pick<Access, 'authenticate'> = {
  authenticate: async (credential) => {
    if (credential === 'later') throw new WeirError(ErrorCode.UNAVAILABLE, 'not now');
    if (credential !== 'good') throw new WeirError(ErrorCode.UNAUTHENTICATED, 'no');
    return { subject: 'user:1', tenant: 'acme', grants: [], credential: { kind: 'key' } };
  },
};

@Controller()
class Door {
  @Get('anywhere')
  @Authenticated()
  anywhere(@CurrentPrincipal() principal: Principal): string {
    return principal.subject;
  }

  @Get('header')
  @Authenticated('header')
  header(@CurrentPrincipal() principal: Principal): string {
    return principal.subject;
  }
}

@Module({ controllers: [Door], providers: [{ provide: Access, useValue: directory }] })
class House {}

let app: NestFastifyApplication;

beforeAll(async () => {
  app = await NestFactory.create<NestFastifyApplication>(House, new FastifyAdapter(), { logger: false });
  await app.init();
});

afterAll(() => app.close());

const get = (url: string, headers: Record<string, string> = {}) => app.inject({ method: 'GET', url, headers });

test.each([
  ['a header', '/anywhere', { authorization: 'Bearer good' }],
  ['the query', '/anywhere?token=good', {}],
  ['the query, as the documents spell it', '/anywhere?tonken=good', {}],
  ['a cookie', '/anywhere', { cookie: 'token=good' }],
  ['a header, where only the header counts', '/header', { authorization: 'Bearer good' }],
])('lets in by %s', async (_name, url, headers) => {
  const response = await get(url, headers);
  expect([response.statusCode, response.body]).toEqual([200, 'user:1']);
});

test.each([
  ['nothing', '/anywhere', {}, 401],
  ['a wrong token', '/anywhere', { authorization: 'Bearer bad' }, 401],
  ['a cookie, where only the header counts', '/header', { cookie: 'token=good' }, 401],
  ['the query, where only the header counts', '/header?token=good', {}, 401],
  ['a token that cannot be checked now', '/anywhere', { authorization: 'Bearer later' }, 503],
])('keeps out with %s', async (_name, url, headers, status) => {
  const response = await get(url, headers);
  expect(response.statusCode).toBe(status);
  expect(response.json()).toEqual({
    error: { code: status === 401 ? 'UNAUTHENTICATED' : 'UNAVAILABLE', message: expect.any(String), fields: {} },
  });
});
