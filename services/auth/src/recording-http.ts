import { Body, Controller, Header, Inject, Post, Req, Res } from '@nestjs/common';
import { RefusalLog } from '@weir/access';
import { ErrorCode, WeirError } from '@weir/contracts';
import { clientTokenBody, statsTokenBody, supervisorTokenBody } from '@weir/protocol-eyeson';
import { Answers, parsed } from '@weir/rest';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { RecordingTokens, type RecordingTokenAttempt } from './recording-tokens.js';

const authToken = z.strictObject({ auth_token: z.string() });
type AuthToken = z.infer<typeof authToken>;

/** The subject of a stats token whose caller names none. */
const STATS_CLIENT = 'stats';

/** Makes the tokens of the recording protocol: `/auth_v2/client`, `/supervisor` and `/stats`. */
@Controller('auth_v2')
export class RecordingTokensController {
  constructor(
    @Inject(RecordingTokens) private readonly tokens: RecordingTokens,
    @Inject(RefusalLog) private readonly refusals: RefusalLog,
  ) {}

  @Post('client')
  @Answers(authToken)
  @Header('cache-control', 'no-store')
  client(
    @Body() body: unknown,
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<AuthToken> {
    const { master_key: masterKey, client_id: clientId, token_ttl_s: ttlS } = parsed(clientTokenBody, body);
    return this.#make({ masterKey, clientId, ttlS, kind: 'client', address: request.ip }, reply);
  }

  @Post('supervisor')
  @Answers(authToken)
  @Header('cache-control', 'no-store')
  supervisor(
    @Body() body: unknown,
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<AuthToken> {
    const {
      master_key: masterKey,
      client_id: clientId,
      client_to_monitor: monitor,
      token_ttl_s: ttlS,
    } = parsed(supervisorTokenBody, body);
    return this.#make({ masterKey, clientId, monitor, ttlS, kind: 'supervisor', address: request.ip }, reply);
  }

  @Post('stats')
  @Answers(authToken)
  @Header('cache-control', 'no-store')
  stats(
    @Body() body: unknown,
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<AuthToken> {
    const {
      master_key: masterKey,
      client_id: clientId = STATS_CLIENT,
      token_ttl_s: ttlS,
    } = parsed(statsTokenBody, body);
    return this.#make({ masterKey, clientId, ttlS, kind: 'stats', address: request.ip }, reply);
  }

  async #make(attempt: RecordingTokenAttempt, reply: FastifyReply): Promise<AuthToken> {
    const outcome = await this.tokens.attempt(attempt);
    const { address, kind, clientId } = attempt;
    if (outcome.tag !== 'accepted')
      this.refusals.say('recording token refused', { address, kind, clientId, reason: outcome.tag });
    switch (outcome.tag) {
      case 'accepted':
        return { auth_token: outcome.token };
      case 'refused':
        throw new WeirError(ErrorCode.UNAUTHENTICATED, 'master_key is not a valid master key for recording');
      case 'too-long':
        throw new WeirError(ErrorCode.INVALID, 'The token would live too long', {
          token_ttl_s: `at most ${outcome.longestS}`,
        });
      case 'limited':
        reply.header('retry-after', String(Math.ceil(outcome.retryAfterMs / 1000)));
        throw new WeirError(ErrorCode.EXHAUSTED, 'Too many wrong master keys from this address; try again later');
      default:
        return outcome satisfies never;
    }
  }
}
