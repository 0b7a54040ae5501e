import { Body, Controller, Get, Header, HttpCode, Inject, Post, Query, Req } from '@nestjs/common';
import { credentialOf, PASS_PATTERN, passOf, type CredentialCarrier, type Principal } from '@weir/access';
import { Answers, Authenticated, CurrentPrincipal, parsed } from '@weir/rest';
import { ErrorCode, WeirError } from '@weir/contracts';
import {
  grantsIn,
  jwksAnswer,
  listQuery,
  newTokenAnswer,
  newTokenBody,
  passAnswer,
  revokeAnswer,
  revokeBody,
  tokensAnswer,
  type TokenJson,
} from './operator-body.js';
import { demandAdministration, demandCovered } from './rights.js';
import { SigningKeys } from './signing-keys.js';
import { Tokens, type TokenIssuer, type TokenRecord } from './tokens.js';

/** The longest life of a token that is made on request. */
export class TokenLifeLimit {
  constructor(readonly maxTtlS: number) {}
}

const issuerOf = (principal: Principal): TokenIssuer =>
  principal.credential.kind === 'token'
    ? `token:${principal.credential.tokenId}`
    : `key:${principal.subject.replace(/^key:/, '')}`;

const tokenJsonOf = ({ tokenId, subject, grants, issuedAt, expiresAt }: TokenRecord): TokenJson => ({
  tokenId,
  subject,
  grants,
  issuedAt: issuedAt.toISOString(),
  expiresAt: expiresAt.toISOString(),
});

@Controller('auth')
@Authenticated('header')
export class TokensController {
  constructor(
    @Inject(Tokens) private readonly tokens: Tokens,
    @Inject(TokenLifeLimit) private readonly limit: TokenLifeLimit,
  ) {}

  @Get('tokens')
  @Answers(tokensAnswer)
  async list(@CurrentPrincipal() principal: Principal, @Query() query: unknown) {
    demandAdministration(principal, 'tokens');
    const { subject, limit } = parsed(listQuery, query);
    const tokens = await this.tokens.list(principal.tenant, subject, limit);
    return { tokens: tokens.map(tokenJsonOf) };
  }

  /** Makes a token with some of the caller's own rights for somebody else, such as a page that publishes one stream. */
  @Post('tokens')
  @Answers(newTokenAnswer)
  @Header('cache-control', 'no-store')
  async mint(@CurrentPrincipal() principal: Principal, @Body() body: unknown) {
    const { subject, ttlS, ...rights } = parsed(newTokenBody, body);
    demandAdministration(principal, 'tokens', subject);
    const grants = grantsIn(rights) ?? [];
    demandCovered(principal, grants);
    this.#demandLife(principal, ttlS);
    const { token, pass, tokenId, expiresAtMs } = await this.tokens.issue({
      subject,
      tenant: principal.tenant,
      grants,
      ttlS,
      issuer: issuerOf(principal),
    });
    return { token, pass, tokenId, expiresAt: new Date(expiresAtMs).toISOString() };
  }

  /** The pass of the token that the request was made with; it is short enough to be the password in a player's URL. */
  @Post('passes')
  @Answers(passAnswer)
  @Header('cache-control', 'no-store')
  async pass(@CurrentPrincipal() { credential }: Principal, @Req() request: CredentialCarrier) {
    const shown = credentialOf(request, ['header']);
    if (credential.kind !== 'token' || shown === undefined)
      throw new WeirError(ErrorCode.INVALID, 'An API key has no pass, because it is short: use the key itself');
    const pass = PASS_PATTERN.test(shown) ? shown : passOf(shown);
    await this.tokens.keepPass(credential.tokenId, pass);
    return { pass, expiresAt: new Date(credential.expiresAtMs).toISOString() };
  }

  /** Without a tokenId, revokes the token that the request was made with, for which no right is needed. */
  @Post('revoke')
  @HttpCode(200)
  @Answers(revokeAnswer)
  async revoke(@CurrentPrincipal() principal: Principal, @Body() body: unknown) {
    const own = principal.credential.kind === 'token' ? principal.credential.tokenId : undefined;
    const tokenId = parsed(revokeBody, body ?? undefined)?.tokenId ?? own;
    if (tokenId === undefined) throw new WeirError(ErrorCode.INVALID, 'Name the token to revoke: {"tokenId": "..."}');
    if (tokenId !== own) await this.#demandAuthorityOver(principal, tokenId);
    await this.tokens.revoke(tokenId);
    return { tokenId };
  }

  async #demandAuthorityOver(principal: Principal, tokenId: string): Promise<void> {
    const token = await this.tokens.find(principal.tenant, tokenId);
    demandAdministration(principal, 'tokens', token?.subject);
    if (token === undefined) throw new WeirError(ErrorCode.NOT_FOUND, 'No such token', { tokenId });
  }

  #demandLife({ credential }: Principal, ttlS: number): void {
    const ownLifeS = Math.floor(((credential.expiresAtMs ?? Infinity) - Date.now()) / 1000);
    const longestS = Math.min(this.limit.maxTtlS, ownLifeS);
    if (ttlS <= longestS) return;
    throw new WeirError(ErrorCode.INVALID, 'The token would live too long', { ttlS: `at most ${longestS}` });
  }
}

/** The public keys, for services that verify tokens themselves. */
@Controller()
export class JwksController {
  constructor(@Inject(SigningKeys) private readonly keys: SigningKeys) {}

  @Get(['auth/jwks.json', '.well-known/jwks.json'])
  @Answers(jwksAnswer)
  @Header('cache-control', 'public, max-age=60')
  jwks() {
    return this.keys.jwks;
  }
}
