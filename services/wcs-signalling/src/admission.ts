import {
  credentialNameOf,
  credentialRefOf,
  mayClaimReserved,
  permits,
  publishPatternsOf,
  type Access,
  type CredentialRef,
  type NameRight,
  type Principal,
  type ReservedNames,
} from '@weir/access';
import { ApplicationPolicy, ErrorCode, isWeirError, type Application } from '@weir/contracts';
import type { Logger } from '@weir/platform';
import {
  CLOSE,
  refusal,
  sideOf,
  type AuthorisedMessage,
  type CloseCode,
  type ConnectionMessage,
  type Decision,
} from '@weir/protocol-wcs';
import { z } from 'zod';
import type { Applications } from './applications.js';
import type { HookAnswer, HookMethod, HookTarget, Hooks } from './hooks.js';
import {
  DEFAULT_RULE,
  overwrittenName,
  restClientConfigOf,
  without,
  type RestClientConfig,
} from './rest-client-config.js';

/** The origin of a connection, which hooks get. */
export interface Visitor {
  /** The session id that the client gets. */
  readonly sessionId: string;
  readonly origin: string | undefined;
}

/** What later decisions need to know of a session. It is made when the session is admitted. */
export interface Admitted {
  readonly appKey: string;
  readonly tenant: string;
  readonly visitor: Visitor;
  /** The connection's credential, if it has one. It has been checked already only under policy `token`. */
  readonly credential: string | undefined;
  /** Set under policy `hook`. */
  readonly hook: HookSession | undefined;
}

export interface HookSession {
  readonly target: HookTarget;
  readonly custom: unknown;
  readonly rules: RestClientConfig;
}

export type ConnectionAdmission =
  | { readonly allowed: true; readonly admitted: Admitted; readonly standsOn: readonly CredentialRef[] }
  | { readonly allowed: false; readonly code: CloseCode; readonly info: string };

/** The right by which a client publishes a name, and the identity that it has proved; empty for an anonymous client. */
export interface PublisherClaim extends NameRight {
  readonly claimer: string;
}

export interface StreamAdmission {
  readonly decision: Decision;
  /** The credential that opens the stream; undefined when the connection alone was enough. */
  readonly credential: CredentialRef | undefined;
  readonly claim: PublisherClaim;
}

export interface AdmissionPorts {
  readonly applications: Pick<Applications, 'find'>;
  readonly access: Pick<Access, 'authenticate'>;
  readonly reservedNames: Pick<ReservedNames, 'find'>;
  readonly hooks: Pick<Hooks, 'ask'>;
  readonly nodeId: string;
  readonly log: Logger;
}

const carrier = z.union([
  z.string().min(1),
  z.object({ token: z.string().min(1) }).transform(({ token }) => token),
  z.object({ aclAuth: z.string().min(1) }).transform(({ aclAuth }) => aclAuth),
]);

/** The token or key in a `custom`: the string itself, or its `token` or `aclAuth`. */
export const credentialIn = (custom: unknown): string | undefined => {
  const parsed = carrier.safeParse(custom);
  return parsed.success ? parsed.data : undefined;
};

/** A resumed session sends the `authToken` that it got before. That begins with a slash and proves nothing. */
const credentialOfConnection = ({ custom, authToken }: ConnectionMessage): string | undefined =>
  credentialIn(custom) ?? (authToken && !authToken.startsWith('/') ? authToken : undefined);

const NO_CLAIM: PublisherClaim = { owner: '', publishPatterns: [], claimer: '' };

const claimOf = (principal: Principal): PublisherClaim => ({
  owner: '',
  publishPatterns: publishPatternsOf(principal),
  claimer: credentialNameOf(credentialRefOf(principal)),
});

const ownCredential = (message: AuthorisedMessage): string | undefined =>
  'custom' in message ? credentialIn(message.custom) : undefined;

const refusedConnection = (code: CloseCode, info: string): ConnectionAdmission => ({ allowed: false, code, info });
const RESTRICTED = 'Restricted access';
const allowed: StreamAdmission = { decision: { allowed: true }, credential: undefined, claim: NO_CLAIM };
const denied = (
  by: 'access' | 'hook',
  code: 'forbidden' | 'unavailable' | 'not-found' = 'forbidden',
): StreamAdmission => ({ ...allowed, decision: { allowed: false, by, cause: refusal(code) } });
/**
 * Exactly the answer for a stream that doesn't exist, so that a client that may not play it can't tell the difference.
 */
const hidden = denied('access', 'not-found');

const allowedWith = (principal: Principal): StreamAdmission => ({
  decision: { allowed: true },
  credential: credentialRefOf(principal),
  claim: claimOf(principal),
});

/** Decides who may connect and what a connection may do, by the policy of its application. */
export class Admission {
  constructor(private readonly ports: AdmissionPorts) {}

  async connect(message: ConnectionMessage, visitor: Visitor): Promise<ConnectionAdmission> {
    try {
      const application = await this.ports.applications.find(message.appKey);
      if (application === undefined) return refusedConnection(CLOSE.unknownApplication, 'No such application');
      return await this.#connectTo(application, message, visitor);
    } catch (error) {
      if (!isWeirError(error)) throw error;
      if (error.code === ErrorCode.UNAUTHENTICATED) return refusedConnection(CLOSE.unauthenticated, RESTRICTED);
      this.ports.log.warn({ err: error, appKey: message.appKey }, 'access to an application could not be decided');
      return refusedConnection(CLOSE.unavailable, 'Access could not be decided');
    }
  }

  async #connectTo(
    application: Application,
    message: ConnectionMessage,
    visitor: Visitor,
  ): Promise<ConnectionAdmission> {
    const { appKey, tenant, policy } = application;
    const credential = credentialOfConnection(message);
    const admitted: Admitted = { appKey, tenant, visitor, credential, hook: undefined };
    // A client may name the application with its tenant.
    const bareKey = appKey.startsWith(`${tenant}/`) ? appKey.slice(tenant.length + 1) : appKey;
    const standsOn: CredentialRef[] = [{ kind: 'application', appKey: bareKey, tenant }];
    switch (policy) {
      case ApplicationPolicy.OPEN:
        return { allowed: true, admitted, standsOn };
      case ApplicationPolicy.TOKEN: {
        // Without a credential of the connection, each stream needs one of its own.
        if (credential === undefined) return { allowed: true, admitted, standsOn };
        const principal = await this.ports.access.authenticate(credential);
        if (principal.tenant !== tenant) return refusedConnection(CLOSE.forbidden, RESTRICTED);
        return { allowed: true, admitted, standsOn: [...standsOn, credentialRefOf(principal)] };
      }
      case ApplicationPolicy.HOOK:
        return this.#connectByHook(application, message, admitted, standsOn);
      case ApplicationPolicy.UNSPECIFIED:
        return refusedConnection(CLOSE.forbidden, RESTRICTED);
      default:
        policy satisfies never;
        return refusedConnection(CLOSE.forbidden, RESTRICTED);
    }
  }

  async #connectByHook(
    { hookUrl, hookSecret }: Application,
    { message: _name, authToken: _token, ...fields }: ConnectionMessage,
    admitted: Admitted,
    standsOn: readonly CredentialRef[],
  ): Promise<ConnectionAdmission> {
    const target: HookTarget = { url: hookUrl, secret: hookSecret };
    const { custom } = fields;
    const answer = await this.ports.hooks.ask(target, 'connect', {
      ...fields,
      ...this.#identity(admitted, custom),
    });
    switch (answer.tag) {
      case 'accepted': {
        const hook: HookSession = { target, custom, rules: restClientConfigOf(answer.body) };
        return { allowed: true, admitted: { ...admitted, hook }, standsOn };
      }
      case 'refused':
        return refusedConnection(CLOSE.forbidden, RESTRICTED);
      case 'failed':
        return refusedConnection(CLOSE.unavailable, 'Access could not be decided');
      default:
        return answer satisfies never;
    }
  }

  /** Decides anew for every stream and request, because grants may have been revoked since. */
  async decide(admitted: Admitted, message: AuthorisedMessage): Promise<StreamAdmission> {
    try {
      const application = await this.ports.applications.find(admitted.appKey);
      if (application?.tenant !== admitted.tenant) return denied('access');
      const { policy } = application;
      switch (policy) {
        case ApplicationPolicy.OPEN:
          return await this.#decideOpenly(admitted, message);
        case ApplicationPolicy.TOKEN:
          return await this.#decideByToken(admitted, message);
        case ApplicationPolicy.HOOK:
          // A session that is older than the application's hook was never admitted by the hook.
          return admitted.hook === undefined ? denied('access') : await this.#decideByHook(admitted, message);
        case ApplicationPolicy.UNSPECIFIED:
          return denied('access');
        default:
          policy satisfies never;
          return denied('access');
      }
    } catch (error) {
      if (!isWeirError(error)) throw error;
      if (error.code === ErrorCode.UNAUTHENTICATED) return denied('access');
      this.ports.log.warn({ err: error, appKey: admitted.appKey }, 'access to a stream could not be decided');
      return denied('access', 'unavailable');
    }
  }

  /** Every client may do everything, but a reserved name needs a credential. */
  async #decideOpenly(admitted: Admitted, message: AuthorisedMessage): Promise<StreamAdmission> {
    if (message.message === 'sendData') return allowed;
    const { tenant } = admitted;
    const reservation = await this.ports.reservedNames.find(tenant, message.name);
    if (message.message === 'publishStream') {
      const principal = await this.#bearer(admitted, message);
      if (reservation === undefined)
        return principal === undefined ? allowed : { ...allowed, claim: claimOf(principal) };
      const mayClaim = principal !== undefined && mayClaimReserved(reservation, claimOf(principal));
      return mayClaim ? allowedWith(principal) : denied('access');
    }
    return reservation === undefined ? allowed : this.#decideReserved(admitted, message);
  }

  async #decideReserved(
    admitted: Admitted,
    message: Exclude<AuthorisedMessage, { message: 'publishStream' | 'sendData' }>,
  ): Promise<StreamAdmission> {
    const principal = await this.#bearer(admitted, message);
    const mayPlay = principal !== undefined && permits(principal, 'play', admitted.tenant, message.name);
    return mayPlay ? allowedWith(principal) : hidden;
  }

  /**
   * The holder of the message's or else the connection's credential; undefined if it isn't a valid one of the tenant.
   */
  async #bearer(
    { tenant, credential: inherited }: Admitted,
    message: AuthorisedMessage,
  ): Promise<Principal | undefined> {
    const credential = ownCredential(message) ?? inherited;
    if (credential === undefined) return undefined;
    try {
      const principal = await this.ports.access.authenticate(credential);
      return principal.tenant === tenant ? principal : undefined;
    } catch (error) {
      if (!isWeirError(error)) throw error;
      if (error.code !== ErrorCode.UNAUTHENTICATED)
        this.ports.log.warn({ err: error }, 'a credential in an open application could not be judged');
      return undefined;
    }
  }

  async #decideByToken(
    { tenant, credential: inherited }: Admitted,
    message: AuthorisedMessage,
  ): Promise<StreamAdmission> {
    const credential = ownCredential(message) ?? inherited;
    if (credential === undefined) return denied('access');
    const principal = await this.ports.access.authenticate(credential);
    if (principal.tenant !== tenant) return denied('access');
    const verb = sideOf(message.message);
    if (verb !== undefined && 'name' in message && !permits(principal, verb, tenant, message.name))
      return denied('access');
    const isRecorded = message.message === 'publishStream' && message.record;
    if (isRecorded && !permits(principal, 'record', tenant, message.name)) return denied('access');
    return allowedWith(principal);
  }

  async #decideByHook(admitted: Admitted, message: AuthorisedMessage): Promise<StreamAdmission> {
    const { message: method, ...fields } = message;
    const answer = await this.#ask(admitted, method, fields);
    const rule = this.#rule(admitted, method);
    switch (answer?.tag) {
      case undefined:
        return this.#unlessReserved(admitted, message);
      case 'accepted':
        return { ...allowed, decision: { allowed: true, streamName: overwrittenName(answer.body, rule) } };
      case 'refused':
      case 'failed':
        if (rule.restOnError === 'FAIL') return denied('hook');
        this.ports.log.info({ method, answer }, 'a REST hook refused and its rule is to go on');
        return this.#unlessReserved(admitted, message);
      default:
        return answer satisfies never;
    }
  }

  /** Decides when the backend hasn't accepted. Its clients are then as anonymous as those of an open application. */
  async #unlessReserved({ tenant }: Admitted, message: AuthorisedMessage): Promise<StreamAdmission> {
    if (message.message === 'sendData' || message.message === 'publishStream') return allowed;
    return (await this.ports.reservedNames.find(tenant, message.name)) === undefined ? allowed : hidden;
  }

  /** Tells the backend of an event, without a decision. Never throws because of what the backend does. */
  async tell(admitted: Admitted, method: HookMethod, fields: Readonly<Record<string, unknown>>): Promise<void> {
    await this.#ask(admitted, method, fields);
  }

  /** Undefined when there is no backend to ask. */
  async #ask(
    admitted: Admitted,
    method: HookMethod,
    fields: Readonly<Record<string, unknown>>,
  ): Promise<HookAnswer | undefined> {
    const { hook } = admitted;
    if (hook === undefined) return undefined;
    const rule = this.#rule(admitted, method);
    if (rule.restPolicy === 'DISABLE') return undefined;
    const message = { ...fields, ...this.#identity(admitted, fields['custom'] ?? hook.custom) };
    return this.ports.hooks.ask(hook.target, method, without(message, rule.restExclude));
  }

  #rule({ hook }: Admitted, method: HookMethod) {
    return hook?.rules[method] ?? DEFAULT_RULE;
  }

  #identity({ appKey, visitor }: Admitted, custom: unknown): Record<string, unknown> {
    return {
      nodeId: this.ports.nodeId,
      appKey,
      sessionId: visitor.sessionId,
      origin: visitor.origin ?? null,
      custom: custom ?? null,
    };
  }
}
