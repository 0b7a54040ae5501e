import { Body, Controller, HttpCode, Inject, Post, Req, Res } from '@nestjs/common';
import { RefusalLog, TOKEN_COOKIE } from '@weir/access';
import { Answers, envelopeSchema, failure, failureSchema, success, type Envelope } from '@weir/rest';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { EC, expireText } from './envelope.js';
import { Login } from './login.js';
import { MAX_PASSWORD_LENGTH } from './passwords.js';

const bodySchema = z.object({
  username: z.string().trim().min(1).max(256),
  password: z.string().min(1).max(MAX_PASSWORD_LENGTH),
  tenant: z.string().optional(),
});

/** The time zone in which `expire` is written. */
export class ExpireZone {
  constructor(readonly offsetHours: number) {}
}

const loginReply = z.strictObject({ token: z.string(), expire: z.string() }).readonly();
type LoginReply = z.infer<typeof loginReply>;

/** The log-in of the robots' interface, which has its own envelope. */
@Controller('auth')
export class LoginController {
  constructor(
    @Inject(Login) private readonly login: Login,
    @Inject(ExpireZone) private readonly zone: ExpireZone,
    @Inject(RefusalLog) private readonly refusals: RefusalLog,
  ) {}

  @Post()
  @HttpCode(200)
  @Answers(envelopeSchema(loginReply), { errors: failureSchema })
  async post(
    @Body() body: unknown,
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<Envelope<LoginReply>> {
    reply.header('cache-control', 'no-store');
    const parsed = bodySchema.safeParse(body);
    if (!parsed.success) {
      reply.code(400);
      this.refusals.say('log-in refused', { address: request.ip, reason: 'not a log-in' }, body);
      return failure(EC.input, 'The body must be {"username": "...", "password": "..."}.');
    }
    return this.#attempt(parsed.data, request, reply);
  }

  async #attempt(
    credentials: z.infer<typeof bodySchema>,
    request: FastifyRequest,
    reply: FastifyReply,
  ): Promise<Envelope<LoginReply>> {
    const outcome = await this.login.attempt({ ...credentials, address: request.ip });
    if (outcome.tag !== 'accepted') {
      const { username } = credentials;
      this.refusals.say('log-in refused', { address: request.ip, username, reason: outcome.tag });
    }
    switch (outcome.tag) {
      case 'accepted': {
        reply.header('set-cookie', cookieOf(outcome.token, outcome.expiresAtMs, request.protocol));
        return success({ token: outcome.token, expire: expireText(outcome.expiresAtMs, this.zone.offsetHours) });
      }
      case 'refused':
        reply.code(401);
        return failure(EC.forbidden, 'The username or the password is wrong.');
      case 'limited':
        reply.code(429).header('retry-after', String(Math.ceil(outcome.retryAfterMs / 1000)));
        return failure(EC.limited, 'Too many failed log-ins from this address; try again later.');
    }
  }
}

/** Some clients of the interface expect a session cookie. With Strict, no other site can make a browser send it. */
const cookieOf = (token: string, expiresAtMs: number, protocol: string): string => {
  const lifeS = Math.max(Math.floor((expiresAtMs - Date.now()) / 1000), 0);
  const secure = protocol === 'https' ? '; Secure' : '';
  return `${TOKEN_COOKIE}=${token}; Path=/; Max-Age=${lifeS}; HttpOnly; SameSite=Strict${secure}`;
};
