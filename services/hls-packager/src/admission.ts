import { createHash } from 'node:crypto';
import {
  API_KEY_PATTERN,
  credentialOf,
  PASS_PATTERN,
  passOf,
  permits,
  type Access,
  type CredentialCarrier,
  type Principal,
} from '@weir/access';
import { ErrorCode, WeirError } from '@weir/contracts';

/** A credential that was just found valid isn't looked into again: low-latency players come ten times a second. */
const CACHE_MS = 700;
const MAX_CACHED = 10_000;

export interface Admitted {
  readonly principal: Principal;
  /** Tells one viewer's credential from another's, and gives nothing away. */
  readonly digest: string;
  /** The query that brought the credential, for addresses that the same player will ask for. */
  readonly query: string | undefined;
}

interface Cached {
  readonly principal: Promise<Principal>;
  readonly untilMs: number;
}

/** What stands for the credential in addresses. A token and its pass are one viewer's. */
const shortFormOf = (credential: string): string =>
  API_KEY_PATTERN.test(credential) || PASS_PATTERN.test(credential) ? credential : passOf(credential);

/** Who may watch. */
export class Admission {
  readonly #cached = new Map<string, Cached>();

  constructor(private readonly access: Pick<Access, 'authenticate'>) {}

  /** By header, query or cookie. Throws UNAUTHENTICATED, and UNAVAILABLE when it can't be found out. */
  async admit(request: CredentialCarrier): Promise<Admitted> {
    const credential = credentialOf(request);
    if (credential === undefined) {
      throw new WeirError(ErrorCode.UNAUTHENTICATED, 'A token is needed: Authorization: Bearer, or ?token=');
    }
    const short = shortFormOf(credential);
    const digest = createHash('sha256').update(short).digest('base64');
    const principal = await this.#principal(digest, credential);
    const isQuery = credentialOf(request, ['header']) === undefined && credentialOf(request, ['query']) === credential;
    return { principal, digest, query: isQuery ? `token=${encodeURIComponent(short)}` : undefined };
  }

  #principal(digest: string, credential: string): Promise<Principal> {
    const known = this.#cached.get(digest);
    if (known !== undefined && known.untilMs > performance.now()) return known.principal;
    const principal = this.access.authenticate(credential);
    this.#cached.delete(digest);
    this.#cached.set(digest, { principal, untilMs: performance.now() + CACHE_MS });
    principal.catch(() => this.#cached.delete(digest));
    const oldest = this.#cached.keys().next();
    if (this.#cached.size > MAX_CACHED && !oldest.done) this.#cached.delete(oldest.value);
    return principal;
  }
}

export function demandPlay(principal: Principal, tenant: string, streamName: string): void {
  if (permits(principal, 'play', tenant, streamName)) return;
  throw new WeirError(ErrorCode.FORBIDDEN, 'This stream is not yours');
}
