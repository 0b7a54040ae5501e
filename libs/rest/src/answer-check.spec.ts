import { Controller, Get, HttpCode, Module, NotFoundException, Param, Post, Res } from '@nestjs/common';
import { APP_FILTER, NestFactory } from '@nestjs/core';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import type { FastifyReply } from 'fastify';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { checkAnswers } from './answer-check.js';
import { Answers, AnswersFile, noBody } from './answers.js';
import { failureSchema } from './envelope.js';
import { RestErrorFilter } from './error-filter.js';
import { restAdapter } from './rest-adapter.js';

const door = z.strictObject({ name: z.string(), open: z.boolean().optional() });

@Controller('doors')
class Doors {
  @Get('described')
  @Answers(door)
  described(): z.infer<typeof door> {
    return { name: 'front' };
  }

  @Get('more')
  @Answers(door)
  more() {
    return { name: 'front', colour: 'red' };
  }

  @Post('nothing')
  @HttpCode(200)
  @Answers(noBody)
  async nothing(): Promise<void> {
    return Promise.resolve();
  }

  @Get('undescribed')
  undescribed(): string {
    return 'front';
  }

  @Get('missing')
  @Answers(door)
  missing(): never {
    throw new NotFoundException('There is no such door');
  }

  @Get('missing/envelope')
  @Answers(door, { errors: failureSchema })
  missingInEnvelope(): never {
    throw new NotFoundException('There is no such door');
  }

  @Get('picture/:type')
  @AnswersFile(['image/png'])
  async picture(@Param('type') type: string, @Res() reply: FastifyReply): Promise<void> {
    await reply.type(`image/${type}`).send(Buffer.from('picture'));
  }
}

@Module({
  controllers: [Doors],
  providers: [
    { provide: APP_FILTER, useValue: new RestErrorFilter({ error: () => undefined, warn: () => undefined }) },
  ],
})
class House {}

let app: NestFastifyApplication;

beforeAll(async () => {
  app = await NestFactory.create<NestFastifyApplication>(House, restAdapter(), { logger: false });
  checkAnswers(app);
  await app.init();
});
afterAll(() => app.close());

test.each([
  ['GET', 'described', 200],
  ['POST', 'nothing', 200],
  ['GET', 'missing', 404],
  ['GET', 'picture/png', 200],
] as const)('an answer that fits its description is sent: %s %s', async (method, path, status) => {
  expect((await app.inject({ method, url: `/doors/${path}` })).statusCode).toBe(status);
});

test.each([
  ['a member that is not described', 'more', /colour/],
  ['an error of another shape', 'missing/envelope', /There is no such door/],
  ['a file of another type', 'picture/gif', /image\/gif/],
])(
  'an answer that does not fit its description becomes an error with the difference: %s',
  async (_what, path, text) => {
    const response = await app.inject({ method: 'GET', url: `/doors/${path}` });
    expect(response.statusCode).toBe(500);
    expect(response.body).toMatch(text);
  },
);

test('a handler without a description is refused', async () => {
  expect((await app.inject({ method: 'GET', url: '/doors/undescribed' })).statusCode).toBe(500);
});

test("the compiler refuses a handler that doesn't answer what it describes", () => {
  class Wrong {
    // @ts-expect-error a door has a name
    @Answers(door)
    open() {
      return { open: true };
    }
  }
  expect(new Wrong().open()).toEqual({ open: true });
});
