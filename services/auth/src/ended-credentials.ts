import type { CredentialRef } from '@weir/access';
import type { Database } from './database.js';

const nameOf = (tenant: string, appKey: string): string => `${tenant}\n${appKey}`;

/** Finds which of the credentials behind open sessions, streams and connections are no longer valid. */
export class EndedCredentials {
  constructor(private readonly database: Database) {}

  /** Returns the indexes of the ended ones in the list. Rejects if the database can't be reached. */
  async among(refs: readonly (CredentialRef | undefined)[]): Promise<number[]> {
    const nowMs = Date.now();
    const [revoked, keys, applications] = await Promise.all([
      this.#revoked(refs.flatMap((ref) => (ref?.kind === 'token' ? [ref.tokenId] : []))),
      this.#liveKeys(refs.flatMap((ref) => (ref?.kind === 'key' ? [ref.keyId] : []))),
      this.#applications(refs.flatMap((ref) => (ref?.kind === 'application' ? [ref.appKey] : []))),
    ]);
    const hasEnded = (ref: CredentialRef | undefined): boolean => {
      switch (ref?.kind) {
        case undefined:
          return false;
        case 'token':
          return ref.expiresAtMs <= nowMs || revoked.has(ref.tokenId);
        case 'key':
          return !keys.has(ref.keyId);
        case 'application':
          return !applications.has(nameOf(ref.tenant, ref.appKey));
        default:
          return ref satisfies never;
      }
    };
    return refs.flatMap((ref, index) => (hasEnded(ref) ? [index] : []));
  }

  async #revoked(ids: string[]): Promise<Set<string>> {
    if (ids.length === 0) return new Set();
    const rows = await this.database.token.findMany({
      where: { id: { in: ids }, revokedAt: { not: null } },
      select: { id: true },
    });
    return new Set(rows.map(({ id }) => id));
  }

  async #liveKeys(ids: string[]): Promise<Set<string>> {
    if (ids.length === 0) return new Set();
    const rows = await this.database.apiKey.findMany({
      where: { id: { in: ids }, OR: [{ expiresAt: null }, { expiresAt: { gt: new Date() } }] },
      select: { id: true },
    });
    return new Set(rows.map(({ id }) => id));
  }

  async #applications(appKeys: string[]): Promise<Set<string>> {
    if (appKeys.length === 0) return new Set();
    const rows = await this.database.application.findMany({
      where: { appKey: { in: appKeys } },
      select: { appKey: true, tenantName: true },
    });
    return new Set(rows.map(({ appKey, tenantName }) => nameOf(tenantName, appKey)));
  }
}
