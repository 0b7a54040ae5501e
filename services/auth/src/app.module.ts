import { Module, type DynamicModule } from '@nestjs/common';
import { APP_FILTER } from '@nestjs/core';
import type { FastifyAdapter } from '@nestjs/platform-fastify';
import { Access, RefusalLog } from '@weir/access';
import { restAdapter } from '@weir/rest';
import { OutboundGuard } from '@weir/outbound';
import { ApiKeys } from './api-keys.js';
import { Applications } from './applications.js';
import type { Auth } from './auth.js';
import type { AuthContext } from './settings.js';
import { ErrorFilter, errorBody } from './error-filter.js';
import { ExpireZone, LoginController } from './login-http.js';
import { Login } from './login.js';
import { ApplicationsController, KeysController, UsersController } from './operator-http.js';
import { RecordingTokensController } from './recording-http.js';
import { RecordingTokens } from './recording-tokens.js';
import { SigningKeys } from './signing-keys.js';
import { JwksController, TokenLifeLimit, TokensController } from './token-http.js';
import { Tokens } from './tokens.js';
import { trustedGateway } from './trusted-gateway.js';
import { Users } from './users.js';

const MAX_BODY_BYTES = 32 * 1024;

@Module({})
export class AppModule {
  static with(auth: Auth, { config, bus, redis, log }: AuthContext): DynamicModule {
    return {
      module: AppModule,
      controllers: [
        LoginController,
        TokensController,
        JwksController,
        ApplicationsController,
        UsersController,
        KeysController,
        RecordingTokensController,
      ],
      providers: [
        { provide: Login, useValue: auth.login },
        { provide: RecordingTokens, useValue: auth.recordingTokens },
        { provide: Tokens, useValue: auth.tokens },
        { provide: SigningKeys, useValue: auth.keys },
        { provide: Applications, useValue: auth.applications },
        { provide: Users, useValue: auth.users },
        { provide: ApiKeys, useValue: auth.apiKeys },
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
