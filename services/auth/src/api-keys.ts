import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { API_KEY_PATTERN, type Grant } from '@weir/access';
import type { Bus } from '@weir/bus';
import { AuthEvents, ErrorCode, WeirError } from '@weir/contracts';
import { isTaken, readGrants, writeGrants, type Database, type DatabaseTransaction } from './database.js';
import type { ApiKey } from './generated/client.js';
import type { Tokens } from './tokens.js';

export interface ApiKeyRecord {
  readonly keyId: string;
  readonly label: string;
  readonly grants: readonly Grant[];
  /** Set in a master key. */
  readonly apiId: string | undefined;
  readonly createdAt: Date;
  readonly expiresAt: Date | undefined;
}

export interface NewApiKey {
  readonly tenant: string;
  readonly label: string;
  readonly grants: readonly Grant[];
  /** Makes it a master key for recording, which has no grants. */
  readonly apiId?: string;
  readonly expiresAt?: Date;
}

/** What a master key stands for. */
export interface VerifiedMasterKey {
  readonly keyId: string;
  readonly tenant: string;
  readonly apiId: string;
  /** Undefined if it never expires. */
  readonly expiresAtMs: number | undefined;
}

export interface VerifiedKey {
  readonly subject: string;
  readonly tenant: string;
  readonly grants: readonly Grant[];
  /** 0 if it never expires. */
  readonly expiresAtMs: number;
}

const ID_ALPHABET = 'abcdefghijklmnopqrstuvwxyz012345';

const digestOf = (key: string): Buffer => createHash('sha256').update(key).digest();

const recordOf = (row: ApiKey): ApiKeyRecord => ({
  keyId: row.id,
  label: row.label,
  grants: readGrants(row.grants),
  apiId: row.apiId ?? undefined,
  createdAt: row.createdAt,
  expiresAt: row.expiresAt ?? undefined,
});

/** `weir_<id>_<secret>`: 60 random bits identify the key, and 256 other bits are the secret. */
export const generateApiKey = (): string => {
  const id = Array.from(randomBytes(12), (byte) => ID_ALPHABET[byte % ID_ALPHABET.length]).join('');
  return `weir_${id}_${randomBytes(32).toString('base64url')}`;
};

const idOf = (key: string): string | undefined => API_KEY_PATTERN.exec(key)?.[1];

const isLive = (row: ApiKey, key: string): boolean =>
  timingSafeEqual(row.keyHash, digestOf(key)) && (row.expiresAt === null || row.expiresAt > new Date());

/** The tenants' long-lived credentials for machines. Only their hashes are stored. */
export class ApiKeys {
  constructor(
    private readonly ports: {
      readonly database: Database;
      readonly tokens: Tokens;
      readonly bus: Pick<Bus, 'publish'>;
    },
  ) {}

  /** Returns the key itself, which is stored nowhere. Throws ALREADY_EXISTS for a label that the tenant already has. */
  async create(request: NewApiKey): Promise<ApiKeyRecord & { readonly key: string }> {
    const key = generateApiKey();
    try {
      return { ...recordOf(await insertApiKey(this.ports.database, key, request)), key };
    } catch (error) {
      if (isTaken(error))
        throw new WeirError(ErrorCode.ALREADY_EXISTS, 'Another key has this label', { label: request.label });
      throw error;
    }
  }

  /** Throws UNAUTHENTICATED, also for a master key. */
  async verify(key: string): Promise<VerifiedKey> {
    const row = await this.#find(key);
    if (row === undefined || row.apiId !== null)
      throw new WeirError(ErrorCode.UNAUTHENTICATED, 'The API key is not valid');
    return {
      subject: `key:${row.id}`,
      tenant: row.tenantName,
      grants: readGrants(row.grants),
      expiresAtMs: row.expiresAt?.getTime() ?? 0,
    };
  }

  /** Returns undefined if it isn't a master key that is valid now. */
  async verifyMaster(key: string): Promise<VerifiedMasterKey | undefined> {
    const row = await this.#find(key);
    if (row === undefined || row.apiId === null) return undefined;
    const { id: keyId, tenantName: tenant, apiId } = row;
    return { keyId, tenant, apiId, expiresAtMs: row.expiresAt?.getTime() };
  }

  async list(tenant: string, limit: number): Promise<ApiKeyRecord[]> {
    const rows = await this.ports.database.apiKey.findMany({
      where: { tenantName: tenant },
      orderBy: { label: 'asc' },
      take: limit,
    });
    return rows.map(recordOf);
  }

  /** Throws NOT_FOUND. */
  async get(tenant: string, keyId: string): Promise<ApiKeyRecord> {
    const row = await this.ports.database.apiKey.findFirst({ where: { id: keyId, tenantName: tenant } });
    if (row === null) throw new WeirError(ErrorCode.NOT_FOUND, 'No such key', { keyId });
    return recordOf(row);
  }

  /** Ends what was opened with the key and revokes the tokens made with it. Throws NOT_FOUND. */
  async remove(tenant: string, keyId: string): Promise<void> {
    await this.get(tenant, keyId);
    // The tokens come first: if revoking them fails, the key is still there for another attempt.
    await this.ports.tokens.revokeOfIssuer(`key:${keyId}`);
    await this.ports.database.apiKey.deleteMany({ where: { id: keyId, tenantName: tenant } });
    this.ports.bus.publish(AuthEvents.method.keyRemoved, { keyId });
    await this.ports.tokens.revokeOfIssuer(`key:${keyId}`);
  }

  async #find(key: string): Promise<ApiKey | undefined> {
    const id = idOf(key);
    const row = id === undefined ? null : await this.ports.database.apiKey.findUnique({ where: { id } });
    return row !== null && isLive(row, key) ? row : undefined;
  }
}

export const insertApiKey = (
  database: Database | DatabaseTransaction,
  key: string,
  { tenant, label, grants, apiId, expiresAt }: NewApiKey,
  demo = false,
): Promise<ApiKey> => {
  const id = idOf(key);
  if (id === undefined) throw new RangeError('Not an API key');
  return database.apiKey.create({
    data: {
      id,
      tenantName: tenant,
      label,
      keyHash: Uint8Array.from(digestOf(key)),
      grants: writeGrants(grants),
      apiId: apiId ?? null,
      expiresAt: expiresAt ?? null,
      demo,
    },
  });
};

export const isSameKey = (row: ApiKey, key: string): boolean => row.id === idOf(key) && isLive(row, key);
