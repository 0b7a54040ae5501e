import { permits, type Access, type Principal, type Verb } from '@weir/access';
import { ApplicationPolicy, ErrorCode, isWeirError, type Application } from '@weir/contracts';
import type { Logger } from '@weir/platform';
import {
  CLOSE,
  refusal,
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

/** Where a connection comes from, as hooks are told. */
export interface Visitor {
  /** The wire's session id. */
  readonly sessionId: string;
  readonly origin: string | undefined;
}

/** What a session may be asked about later: made when it is admitted. */
export interface Admitted {
  readonly appKey: string;
  readonly tenant: string;
  readonly visitor: Visitor;
  /** Under policy `token`: what the connection brought, if anything. */
  readonly credential: string | undefined;
  /** Under policy `hook`. */
  readonly hook: HookSession | undefined;
}

export interface HookSession {
  readonly target: HookTarget;
  readonly custom: unknown;
  readonly rules: RestClientConfig;
}

export type ConnectionAdmission =
  | { readonly allowed: true; readonly admitted: Admitted; readonly tokenId: string | undefined }
  | { readonly allowed: false; readonly code: CloseCode; readonly info: string };

/** `tokenId`: whose revocation ends the stream. */
export type StreamAdmission = { readonly decision: Decision; readonly tokenId: string | undefined };

export interface AdmissionPorts {
  readonly applications: Pick<Applications, 'find'>;
  readonly access: Pick<Access, 'authenticate'>;
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

/** A resumed session brings the `authToken` it was given, which begins with a slash and proves nothing. */
const credentialOfConnection = ({ custom, authToken }: ConnectionMessage): string | undefined =>
  credentialIn(custom) ?? (authToken && !authToken.startsWith('/') ? authToken : undefined);

const tokenIdOf = ({ credential }: Principal): string | undefined =>
  credential.kind === 'token' ? credential.tokenId : undefined;

const verbOf = (message: AuthorisedMessage): Verb | undefined => {
  switch (message.message) {
    case 'publishStream':
      return 'publish';
    case 'playStream':
    case 'availableStream':
    case 'snapshot':
      return 'play';
    case 'sendData':
      return undefined;
    default:
      return message satisfies never;
  }
};

const refusedConnection = (code: CloseCode, info: string): ConnectionAdmission => ({ allowed: false, code, info });
const RESTRICTED = 'Restricted access';
const allowed: StreamAdmission = { decision: { allowed: true }, tokenId: undefined };
const denied = (by: 'access' | 'hook', code: 'forbidden' | 'unavailable' = 'forbidden'): StreamAdmission => ({
  decision: { allowed: false, by, cause: refusal(code) },
  tokenId: undefined,
});

/** Who may connect, and what a connection may do, by the policy of its application. */
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
    const admitted: Admitted = { appKey, tenant, visitor, credential: undefined, hook: undefined };
    switch (policy) {
      case ApplicationPolicy.OPEN:
        return { allowed: true, admitted, tokenId: undefined };
      case ApplicationPolicy.TOKEN: {
        // Without one, each stream must bring its own.
        const credential = credentialOfConnection(message);
        if (credential === undefined) return { allowed: true, admitted, tokenId: undefined };
        const principal = await this.ports.access.authenticate(credential);
        if (principal.tenant !== tenant) return refusedConnection(CLOSE.forbidden, RESTRICTED);
        return { allowed: true, admitted: { ...admitted, credential }, tokenId: tokenIdOf(principal) };
      }
      case ApplicationPolicy.HOOK:
        return this.#connectByHook(application, message, admitted);
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
  ): Promise<ConnectionAdmission> {
    const target: HookTarget = { url: hookUrl, secret: hookSecret };
    const { custom } = fields;
    const answer = await this.ports.hooks.ask(target, 'connect', {
      ...fields,
      ...this.#identity(admitted, custom),
    });
    switch (answer.kind) {
      case 'accepted': {
        const hook: HookSession = { target, custom, rules: restClientConfigOf(answer.body) };
        return { allowed: true, admitted: { ...admitted, hook }, tokenId: undefined };
      }
      case 'refused':
        return refusedConnection(CLOSE.forbidden, RESTRICTED);
      case 'failed':
        return refusedConnection(CLOSE.unavailable, 'Access could not be decided');
      default:
        return answer satisfies never;
    }
  }

  /** Asked anew for every stream and request: grants may have been taken back since. */
  async decide(admitted: Admitted, message: AuthorisedMessage): Promise<StreamAdmission> {
    try {
      const application = await this.ports.applications.find(admitted.appKey);
      if (application?.tenant !== admitted.tenant) return denied('access');
      const { policy } = application;
      switch (policy) {
        case ApplicationPolicy.OPEN:
          return allowed;
        case ApplicationPolicy.TOKEN:
          return await this.#decideByToken(admitted, message);
        case ApplicationPolicy.HOOK:
          // A session from before the application got its hook has never been admitted by it.
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

  async #decideByToken(
    { tenant, credential: inherited }: Admitted,
    message: AuthorisedMessage,
  ): Promise<StreamAdmission> {
    const own = 'custom' in message ? credentialIn(message.custom) : undefined;
    const credential = own ?? inherited;
    if (credential === undefined) return denied('access');
    const principal = await this.ports.access.authenticate(credential);
    if (principal.tenant !== tenant) return denied('access');
    const verb = verbOf(message);
    if (verb !== undefined && 'name' in message && !permits(principal, verb, tenant, message.name))
      return denied('access');
    return { decision: { allowed: true }, tokenId: tokenIdOf(principal) };
  }

  async #decideByHook(admitted: Admitted, message: AuthorisedMessage): Promise<StreamAdmission> {
    const { message: method, ...fields } = message;
    const answer = await this.#ask(admitted, method, fields);
    const rule = this.#rule(admitted, method);
    switch (answer?.kind) {
      case undefined:
        return allowed;
      case 'accepted':
        return {
          decision: { allowed: true, streamName: overwrittenName(answer.body, rule) },
          tokenId: undefined,
        };
      case 'refused':
      case 'failed':
        if (rule.restOnError === 'FAIL') return denied('hook');
        this.ports.log.info({ method, answer }, 'a REST hook refused and its rule is to go on');
        return allowed;
      default:
        return answer satisfies never;
    }
  }

  /** Tells the backend of something that isn't asked about. Never throws for what the backend does. */
  async tell(admitted: Admitted, method: HookMethod, fields: Readonly<Record<string, unknown>>): Promise<void> {
    await this.#ask(admitted, method, fields);
  }

  /** Undefined when there is nobody to ask. */
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
