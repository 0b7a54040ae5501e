import { Module, type DynamicModule, type InjectionToken } from '@nestjs/common';
import { APP_FILTER } from '@nestjs/core';
import type { FastifyAdapter } from '@nestjs/platform-fastify';
import { Access, RefusalLog, restAdapter } from '@weir/access';
import { OutboundGuard } from '@weir/outbound';
import { ApiKeys } from './api-keys.js';
import { Applications } from './applications.js';
import { openAuth, type Auth } from './auth.js';
import type { AuthContext } from './config.js';
import { ErrorFilter, errorBody } from './error-filter.js';
import { ExpireZone, LoginController } from './login-http.js';
import { Login } from './login.js';
import { ApplicationsController, KeysController, UsersController } from './operator-http.js';
import { SigningKeys } from './signing-keys.js';
import { JwksController, TokenLifeLimit, TokensController } from './token-http.js';
import { Tokens } from './tokens.js';
import { trustedGateway } from './trusted-gateway.js';
import { Users } from './users.js';

const MAX_BODY_BYTES = 32 * 1024;

/** The injection token of what `openAuth` returns. */
export const AUTH = Symbol('auth');

const part = (token: InjectionToken, select: (auth: Auth) => unknown) => ({
  provide: token,
  useFactory: select,
  inject: [AUTH],
});

@Module({})
export class AppModule {
  static with(context: AuthContext): DynamicModule {
    const { config, bus, redis, log } = context;
    return {
      module: AppModule,
      controllers: [
        LoginController,
        TokensController,
        JwksController,
        ApplicationsController,
        UsersController,
        KeysController,
      ],
      providers: [
        { provide: AUTH, useFactory: () => openAuth(context) },
        part(Login, (auth) => auth.login),
        part(Tokens, (auth) => auth.tokens),
        part(SigningKeys, (auth) => auth.keys),
        part(Applications, (auth) => auth.applications),
        part(Users, (auth) => auth.users),
        part(ApiKeys, (auth) => auth.apiKeys),
        { provide: Access, useValue: new Access({ bus, redis, log }) },
        { provide: OutboundGuard, useValue: new OutboundGuard({ allow: config.WEIR_OUTBOUND_ALLOW }) },
        { provide: ExpireZone, useValue: new ExpireZone(config.WEIR_AUTH_EXPIRE_UTC_OFFSET_HOURS) },
        { provide: TokenLifeLimit, useValue: new TokenLifeLimit(config.WEIR_AUTH_MAX_TOKEN_TTL_S) },
        { provide: RefusalLog, useValue: new RefusalLog(log) },
        { provide: APP_FILTER, useValue: new ErrorFilter(log) },
      ],
    };
  }
}

/** The client's address is the one that the gateway reports. */
export const httpAdapter = ({ config }: AuthContext): FastifyAdapter =>
  restAdapter({
    maxBodyBytes: MAX_BODY_BYTES,
    trustProxy: trustedGateway(config.WEIR_AUTH_TRUSTED_PROXIES),
    bodyOf: errorBody,
  });
