import { Body, Controller, Delete, Get, HttpCode, Inject, Param, Post, Put, Query } from '@nestjs/common';
import type { Principal } from '@weir/access';
import { Answers, Authenticated, CurrentPrincipal, noBody, parsed } from '@weir/rest';
import { ErrorCode, WeirError } from '@weir/contracts';
import { OutboundGuard, refusalOf } from '@weir/outbound';
import { ApiKeys, type ApiKeyRecord } from './api-keys.js';
import { Applications, type Application, type Policy } from './applications.js';
import {
  applicationAnswer,
  applicationsAnswer,
  grantsIn,
  keysAnswer,
  listQuery,
  newApplicationBody,
  newKeyAnswer,
  newKeyBody,
  newUserBody,
  policyBody,
  userChangeBody,
  userJson,
  usersAnswer,
  type ApplicationJson,
  type KeyJson,
  type UserJson,
} from './operator-body.js';
import { demandAdministration, demandCovered, RIGHTS_OF_A_MASTER_KEY, RIGHTS_OF_AN_APPLICATION } from './rights.js';
import { normalUsername, Users, type UserRecord } from './users.js';

const POLICIES = { OPEN: 'open', TOKEN: 'token', HOOK: 'hook' } as const satisfies Record<
  Application['policy'],
  string
>;

const applicationJsonOf = ({ appKey, tenantName, policy, hookUrl }: Application): ApplicationJson => ({
  appKey,
  tenant: tenantName,
  policy: POLICIES[policy],
  ...(hookUrl !== null && { hookUrl }),
});

const userJsonOf = ({ userId, username, grants, locked, createdAt }: UserRecord): UserJson => ({
  userId,
  username,
  grants,
  locked,
  createdAt: createdAt.toISOString(),
});

const keyJsonOf = ({ keyId, label, grants, apiId, createdAt, expiresAt }: ApiKeyRecord): KeyJson => ({
  keyId,
  label,
  grants,
  ...(apiId !== undefined && { apiId }),
  createdAt: createdAt.toISOString(),
  ...(expiresAt !== undefined && { expiresAt: expiresAt.toISOString() }),
});

const demandPolicy = async (
  principal: Principal,
  policy: Policy,
  guard: Pick<OutboundGuard, 'check'>,
): Promise<void> => {
  if (policy.policy !== 'token') demandCovered(principal, RIGHTS_OF_AN_APPLICATION);
  if (policy.policy !== 'hook') return;
  const refusal = await refusalOf(guard.check(policy.hookUrl, { schemes: ['http', 'https'] }));
  if (refusal === undefined) return;
  const fields = { hookUrl: refusal.message };
  throw new WeirError(ErrorCode.INVALID, 'The platform is not allowed to connect to this URL', fields);
};

@Controller('auth/applications')
@Authenticated('header')
export class ApplicationsController {
  constructor(
    @Inject(Applications) private readonly applications: Applications,
    @Inject(OutboundGuard) private readonly guard: OutboundGuard,
  ) {}

  @Get()
  @Answers(applicationsAnswer)
  async list(@CurrentPrincipal() principal: Principal, @Query() query: unknown) {
    demandAdministration(principal, 'applications');
    const applications = await this.applications.list(principal.tenant, parsed(listQuery, query).limit);
    return { applications: applications.map(applicationJsonOf) };
  }

  @Post()
  @Answers(applicationAnswer)
  async create(@CurrentPrincipal() principal: Principal, @Body() body: unknown) {
    const { appKey, ...rest } = parsed(newApplicationBody, body);
    demandAdministration(principal, 'applications', appKey);
    const policy = parsed(policyBody, rest);
    await demandPolicy(principal, policy, this.guard);
    const made = await this.applications.create(principal.tenant, appKey, policy);
    return { ...applicationJsonOf(made), ...(made.hookSecret !== null && { hookSecret: made.hookSecret }) };
  }

  @Put(':appKey')
  @Answers(applicationAnswer)
  async change(@CurrentPrincipal() principal: Principal, @Param('appKey') appKey: string, @Body() body: unknown) {
    demandAdministration(principal, 'applications', appKey);
    const policy = parsed(policyBody, body);
    await demandPolicy(principal, policy, this.guard);
    const changed = await this.applications.change(principal.tenant, appKey, policy);
    return { ...applicationJsonOf(changed), ...(changed.hookSecret !== null && { hookSecret: changed.hookSecret }) };
  }

  @Delete(':appKey')
  @HttpCode(204)
  @Answers(noBody)
  async remove(@CurrentPrincipal() principal: Principal, @Param('appKey') appKey: string): Promise<void> {
    demandAdministration(principal, 'applications', appKey);
    await this.applications.remove(principal.tenant, appKey);
  }
}

@Controller('auth/users')
@Authenticated('header')
export class UsersController {
  constructor(@Inject(Users) private readonly users: Users) {}

  @Get()
  @Answers(usersAnswer)
  async list(@CurrentPrincipal() principal: Principal, @Query() query: unknown) {
    demandAdministration(principal, 'users');
    const users = await this.users.list(principal.tenant, parsed(listQuery, query).limit);
    return { users: users.map(userJsonOf) };
  }

  @Post()
  @Answers(userJson)
  async create(@CurrentPrincipal() principal: Principal, @Body() body: unknown) {
    const { username, password, ...rights } = parsed(newUserBody, body);
    demandAdministration(principal, 'users', normalUsername(username));
    const grants = grantsIn(rights) ?? [];
    demandCovered(principal, grants);
    return userJsonOf(await this.users.create(principal.tenant, username, password, grants));
  }

  /** Ends the user's tokens. */
  @Put(':username')
  @Answers(userJson)
  async change(@CurrentPrincipal() principal: Principal, @Param('username') username: string, @Body() body: unknown) {
    demandAdministration(principal, 'users', normalUsername(username));
    const { password, locked, ...rights } = parsed(userChangeBody, body);
    const grants = grantsIn(rights);
    // Whoever sets a user's password can log in as that user.
    const before = await this.users.get(principal.tenant, username);
    demandCovered(principal, [...before.grants, ...(grants ?? [])]);
    return userJsonOf(await this.users.change(principal.tenant, username, { password, locked, grants }));
  }

  @Delete(':username')
  @HttpCode(204)
  @Answers(noBody)
  async remove(@CurrentPrincipal() principal: Principal, @Param('username') username: string): Promise<void> {
    demandAdministration(principal, 'users', normalUsername(username));
    await this.users.remove(principal.tenant, username);
  }
}

@Controller('auth/keys')
@Authenticated('header')
export class KeysController {
  constructor(@Inject(ApiKeys) private readonly apiKeys: ApiKeys) {}

  @Get()
  @Answers(keysAnswer)
  async list(@CurrentPrincipal() principal: Principal, @Query() query: unknown) {
    demandAdministration(principal, 'keys');
    const keys = await this.apiKeys.list(principal.tenant, parsed(listQuery, query).limit);
    return { keys: keys.map(keyJsonOf) };
  }

  @Post()
  @Answers(newKeyAnswer)
  async create(@CurrentPrincipal() principal: Principal, @Body() body: unknown) {
    const { label, ttlS, apiId, ...rights } = parsed(newKeyBody, body);
    demandAdministration(principal, 'keys', label);
    const grants = grantsIn(rights) ?? [];
    demandCovered(principal, apiId === undefined ? grants : RIGHTS_OF_A_MASTER_KEY);
    const expiry = ttlS === undefined ? {} : { expiresAt: new Date(Date.now() + ttlS * 1000) };
    const made = await this.apiKeys.create({
      ...{ tenant: principal.tenant, label, grants, ...expiry },
      ...(apiId !== undefined && { apiId }),
    });
    return { ...keyJsonOf(made), key: made.key };
  }

  @Delete(':keyId')
  @HttpCode(204)
  @Answers(noBody)
  async remove(@CurrentPrincipal() principal: Principal, @Param('keyId') keyId: string): Promise<void> {
    const { label } = await this.apiKeys.get(principal.tenant, keyId);
    demandAdministration(principal, 'keys', label);
    await this.apiKeys.remove(principal.tenant, keyId);
  }
}
