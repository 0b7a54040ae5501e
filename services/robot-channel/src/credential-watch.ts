import type { Access, Principal } from '@weir/access';
import type { Bus } from '@weir/bus';
import { AuthEvents, ErrorCode, isWeirError } from '@weir/contracts';
import type { Logger } from '@weir/platform';

/** An open socket and what it was opened with. */
export interface CredentialHolder {
  readonly credential: string;
  readonly principal: Principal;
  /** It is still valid, for this principal. */
  credentialConfirmed(principal: Principal): void;
  /** It has expired or was taken back. */
  credentialEnded(): void;
}

export interface CredentialWatchPorts {
  readonly bus: Pick<Bus, 'subscribe'>;
  readonly access: Pick<Access, 'authenticate'>;
  readonly log: Pick<Logger, 'warn'>;
  readonly intervalMs: number;
}

const TICK_INTERVAL_MS = 500;

/**
 * Ends sockets whose token or key is no longer valid: at once when auth says so, at the time when a token expires, and at
 * the latest after an interval, because what auth says may be lost.
 */
export class CredentialWatch {
  readonly #nextCheckMs = new Map<CredentialHolder, number>();
  readonly #subscription: { close(): Promise<void> };
  readonly #ticker: NodeJS.Timeout;

  constructor(private readonly ports: CredentialWatchPorts) {
    this.#subscription = ports.bus.subscribe(AuthEvents.method.tokenRevoked, ({ tokenId }) => this.#revoked(tokenId));
    this.#ticker = setInterval(() => this.#tick(), Math.min(TICK_INTERVAL_MS, ports.intervalMs));
  }

  add(holder: CredentialHolder): void {
    this.#schedule(holder, holder.principal);
  }

  remove(holder: CredentialHolder): void {
    this.#nextCheckMs.delete(holder);
  }

  async close(): Promise<void> {
    clearInterval(this.#ticker);
    await this.#subscription.close();
    this.#nextCheckMs.clear();
  }

  #schedule(holder: CredentialHolder, { credential }: Principal): void {
    const nextMs = Date.now() + this.ports.intervalMs;
    this.#nextCheckMs.set(holder, credential.kind === 'token' ? Math.min(nextMs, credential.expiresAtMs) : nextMs);
  }

  #revoked(tokenId: string): void {
    for (const holder of this.#nextCheckMs.keys()) {
      const { credential } = holder.principal;
      if (credential.kind === 'token' && credential.tokenId === tokenId) this.#end(holder);
    }
  }

  #end(holder: CredentialHolder): void {
    this.#nextCheckMs.delete(holder);
    holder.credentialEnded();
  }

  #tick(): void {
    const nowMs = Date.now();
    for (const [holder, nextMs] of this.#nextCheckMs) {
      if (nextMs > nowMs) continue;
      const { credential } = holder.principal;
      if (credential.kind === 'token' && credential.expiresAtMs <= nowMs) this.#end(holder);
      else {
        this.#nextCheckMs.set(holder, nowMs + this.ports.intervalMs);
        void this.#check(holder);
      }
    }
  }

  async #check(holder: CredentialHolder): Promise<void> {
    try {
      const principal = await this.ports.access.authenticate(holder.credential);
      if (!this.#nextCheckMs.has(holder)) return;
      this.#schedule(holder, principal);
      holder.credentialConfirmed(principal);
    } catch (error) {
      if (!isWeirError(error, ErrorCode.UNAUTHENTICATED)) {
        // Who can't be judged just now stays; the next look will tell.
        this.ports.log.warn({ err: error }, 'a credential could not be looked at');
        return;
      }
      if (this.#nextCheckMs.has(holder)) this.#end(holder);
    }
  }
}
