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

/** Low-latency players send ten requests a second, other players one every few seconds. */
const FORGOTTEN_AFTER_MS = 30_000;
const MAX_KNOWN = 10_000;

export interface Admitted {
  readonly principal: Principal;
  /** Differs for different credentials, and doesn't reveal the credential. */
  readonly digest: string;
  /** The query with the credential, if the credential came by query. It goes into addresses for the same player. */
  readonly query: string | undefined;
}

interface Known {
  readonly principal: Promise<Principal>;
  seenMs: number;
  stopWatching: () => void;
}

/** The short form of a credential for addresses. A token and its pass have the same short form. */
const shortFormOf = (credential: string): string =>
  API_KEY_PATTERN.test(credential) || PASS_PATTERN.test(credential) ? credential : passOf(credential);

/**
 * Decides who may watch. It checks a viewer's credential at the first request. While the viewer keeps sending requests,
 * the result stays valid until the credential ends, so that a viewer can go on while credentials can't be checked.
 */
export class Admission {
  /** By the credential's digest; the most recent viewer is last. */
  readonly #known = new Map<string, Known>();

  constructor(
    private readonly access: Pick<Access, 'authenticate'>,
    private readonly credentials: Pick<CredentialWatch, 'watch'>,
  ) {}

  /**
   * Takes the credential from header, query or cookie. Throws UNAUTHENTICATED, and UNAVAILABLE when it can't check it.
   */
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
  throw new WeirError(ErrorCode.FORBIDDEN, 'Your credential may not play this stream');
}
