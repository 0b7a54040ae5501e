import { randomBytes } from 'node:crypto';
import type { Bus } from '@weir/bus';
import { AuthEvents, ErrorCode, WeirError } from '@weir/contracts';
import { isTaken, type Database } from './database.js';
import type { Application } from './generated/client.js';
import { TENANT_PATTERN } from './tenant.js';

/** What decides whether a WCS client may use an application. */
export type Policy =
  | { readonly policy: 'open' }
  | { readonly policy: 'token' }
  /** A secret is generated if none is given. */
  | { readonly policy: 'hook'; readonly hookUrl: string; readonly hookSecret?: string | undefined };

export type { Application } from './generated/client.js';

/** Allows no slash, which separates the tenant from the application when a client names both. */
export const APP_KEY_PATTERN = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;

/** The application that a client's text names; undefined if it can't name any. */
const namedBy = (text: string): { readonly tenantName?: string; readonly appKey: string } | undefined => {
  const [appKey = '', tenantName, ...more] = text.split('/').reverse();
  if (more.length > 0 || !APP_KEY_PATTERN.test(appKey)) return undefined;
  if (tenantName === undefined) return { appKey };
  return TENANT_PATTERN.test(tenantName) ? { tenantName, appKey } : undefined;
};

const columnsOf = (policy: Policy): Pick<Application, 'policy' | 'hookUrl' | 'hookSecret'> => {
  switch (policy.policy) {
    case 'open':
      return { policy: 'OPEN', hookUrl: null, hookSecret: null };
    case 'token':
      return { policy: 'TOKEN', hookUrl: null, hookSecret: null };
    case 'hook':
      return {
        policy: 'HOOK',
        hookUrl: policy.hookUrl,
        hookSecret: policy.hookSecret ?? randomBytes(32).toString('base64url'),
      };
  }
};

/** The applications, which WCS clients name by appKey. Every change is published, for services that cache them. */
export class Applications {
  constructor(private readonly ports: { readonly database: Database; readonly bus: Pick<Bus, 'publish'> }) {}

  /** Finds by `<tenant>/<appKey>`, or by the appKey alone: then the oldest application of that name. */
  async find(name: string): Promise<Application | undefined> {
    const where = namedBy(name);
    if (where === undefined) return undefined;
    const found = await this.ports.database.application.findFirst({ where, orderBy: { createdAt: 'asc' } });
    return found ?? undefined;
  }

  list(tenant: string, limit: number): Promise<Application[]> {
    return this.ports.database.application.findMany({
      where: { tenantName: tenant },
      orderBy: { appKey: 'asc' },
      take: limit,
    });
  }

  /** Throws ALREADY_EXISTS. */
  async create(tenant: string, appKey: string, policy: Policy): Promise<Application> {
    try {
      const made = await this.ports.database.application.create({
        data: { appKey, tenantName: tenant, ...columnsOf(policy) },
      });
      this.#changed(tenant, appKey);
      return made;
    } catch (error) {
      if (isTaken(error))
        throw new WeirError(ErrorCode.ALREADY_EXISTS, 'Another application has this appKey', { appKey });
      throw error;
    }
  }

  /** A hook keeps its secret unless a new one is given. Throws NOT_FOUND, also for another tenant's appKey. */
  async change(tenant: string, appKey: string, policy: Policy): Promise<Application> {
    const columns = columnsOf(policy);
    const before = await this.ports.database.application.findFirst({ where: { appKey, tenantName: tenant } });
    const keepsSecret = policy.policy === 'hook' && policy.hookSecret === undefined;
    const hookSecret = (keepsSecret ? before?.hookSecret : undefined) ?? columns.hookSecret;
    const [changed] = await this.ports.database.application.updateManyAndReturn({
      where: { appKey, tenantName: tenant },
      data: { ...columns, hookSecret },
    });
    if (changed === undefined) throw new WeirError(ErrorCode.NOT_FOUND, 'No such application', { appKey });
    this.#changed(tenant, appKey);
    return changed;
  }

  /** Throws NOT_FOUND. */
  async remove(tenant: string, appKey: string): Promise<void> {
    const { count } = await this.ports.database.application.deleteMany({ where: { appKey, tenantName: tenant } });
    if (count === 0) throw new WeirError(ErrorCode.NOT_FOUND, 'No such application', { appKey });
    this.#changed(tenant, appKey);
  }

  /** Publishes the change under both names that clients use. */
  #changed(tenant: string, appKey: string): void {
    for (const name of [appKey, `${tenant}/${appKey}`])
      this.ports.bus.publish(AuthEvents.method.applicationChanged, { appKey: name });
  }
}
