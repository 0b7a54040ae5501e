import { createHash } from 'node:crypto';
import {
  API_KEY_PATTERN,
  credentialOf,
  credentialRefOf,
  PASS_PATTERN,
  passOf,
  permits,
  type Access,
  type CredentialCarrier,
  type CredentialWatch,
  type Principal,
} from '@weir/access';
import { ErrorCode, WeirError } from '@weir/contracts';

/** Low-latency players come ten times a second, others every few seconds. */
const FORGOTTEN_AFTER_MS = 30_000;
const MAX_KNOWN = 10_000;

export interface Admitted {
  readonly principal: Principal;
  /** Tells one viewer's credential from another's, and gives nothing away. */
  readonly digest: string;
  /** The query that brought the credential, for addresses that the same player will ask for. */
  readonly query: string | undefined;
}

interface Known {
  readonly principal: Promise<Principal>;
  seenMs: number;
  stopWatching: () => void;
}

/** What stands for the credential in addresses. A token and its pass are one viewer's. */
const shortFormOf = (credential: string): string =>
  API_KEY_PATTERN.test(credential) || PASS_PATTERN.test(credential) ? credential : passOf(credential);

/**
 * Who may watch. A viewer's credential is judged when it first comes; from then on, as long as he keeps coming, it holds
 * until it ends, so that nobody stops who can't be judged anew just now.
 */
export class Admission {
  /** By the credential's digest, who came last at the end. */
  readonly #known = new Map<string, Known>();

  constructor(
    private readonly access: Pick<Access, 'authenticate'>,
    private readonly credentials: Pick<CredentialWatch, 'watch'>,
  ) {}

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
    const nowMs = performance.now();
    this.#forgetIdle(nowMs);
    const known = this.#known.get(digest);
    if (known !== undefined) {
      known.seenMs = nowMs;
      this.#known.delete(digest);
      this.#known.set(digest, known);
      return known.principal;
    }
    const principal = this.access.authenticate(credential);
    const admitted: Known = { principal, seenMs: nowMs, stopWatching: () => undefined };
    this.#known.set(digest, admitted);
    principal.then(
      (holder) => {
        if (this.#known.get(digest) !== admitted) return;
        admitted.stopWatching = this.credentials.watch([credentialRefOf(holder)], () => this.#known.delete(digest));
      },
      () => this.#known.delete(digest),
    );
    return principal;
  }

  #forgetIdle(nowMs: number): void {
    for (const [digest, known] of this.#known) {
      if (nowMs - known.seenMs < FORGOTTEN_AFTER_MS && this.#known.size <= MAX_KNOWN) return;
      this.#known.delete(digest);
      known.stopWatching();
    }
  }
}

export function demandPlay(principal: Principal, tenant: string, streamName: string): void {
  if (permits(principal, 'play', tenant, streamName)) return;
  throw new WeirError(ErrorCode.FORBIDDEN, 'This stream is not yours');
}
