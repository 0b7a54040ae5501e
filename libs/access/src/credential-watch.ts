import type { DescMessage, DescMethodUnary, MessageShape } from '@bufbuild/protobuf';
import { Auth, AuthEvents, ErrorCode, WeirError } from '@weir/contracts';
import { within } from '@weir/timing';
import { credentialNameOf, credentialRefMessage, expiryOf, type CredentialRef } from './credential-ref.js';
import { REDIS_TIMEOUT_MS, revocationKey } from './revocations.js';
import type { AccessLog, BusCaller } from './token-keys.js';

export interface CredentialWatchPorts {
  readonly bus: BusCaller & {
    subscribe<I extends DescMessage, O extends DescMessage>(
      method: DescMethodUnary<I, O>,
      handler: (event: MessageShape<I>) => void,
    ): { close(): Promise<void> };
  };
  readonly redis: { mget(...keys: string[]): Promise<(string | null)[]> };
  readonly log: AccessLog;
  /** How often all credentials are checked: the end of one whose event was lost is noticed at most this late. */
  readonly intervalMs?: number;
  readonly nowMs?: () => number;
}

interface Watched {
  readonly ref: CredentialRef;
  readonly holders: Set<() => void>;
}

const TICK_INTERVAL_MS = 250;
const CHECK_INTERVAL_MS = 3_000;
/** The most credentials in one request to Redis or auth. */
const MAX_ASKED_AT_ONCE = 500;

/**
 * When a credential ends, ends everything that was opened with it. A token ends when it expires or is revoked, a key
 * when it expires or is removed, an application when it is removed. Auth publishes an event for each end; expiry is
 * read from the clock. Events can be lost, so at every interval Redis and auth are asked about all credentials
 * together. Nothing ends just because Redis or auth can't be asked.
 */
export class CredentialWatch {
  readonly #watched = new Map<string, Watched>();
  readonly #subscriptions: readonly { close(): Promise<void> }[];
  readonly #ticker: NodeJS.Timeout;
  readonly #nowMs: () => number;
  #nextCheckMs: number;
  #checking: Promise<void> | undefined;
  #isTroubled = false;

  constructor(private readonly ports: CredentialWatchPorts) {
    const { bus, nowMs = Date.now } = ports;
    this.#nowMs = nowMs;
    this.#nextCheckMs = nowMs() + this.#intervalMs;
    this.#subscriptions = [
      bus.subscribe(AuthEvents.method.tokenRevoked, ({ tokenId }) => this.#end(`token:${tokenId}`)),
      bus.subscribe(AuthEvents.method.keyRemoved, ({ keyId }) => this.#end(`key:${keyId}`)),
      bus.subscribe(AuthEvents.method.applicationChanged, ({ appKey }) => {
        const changed = this.#list().filter(({ ref }) => ref.kind === 'application' && ref.appKey === appKey);
        if (changed.length > 0) void this.#look(changed);
      }),
    ];
    this.#ticker = setInterval(() => this.#tick(), Math.min(TICK_INTERVAL_MS, this.#intervalMs));
    this.#ticker.unref();
  }

  /** The number of credentials watched. One credential counts once, however many things were opened with it. */
  get size(): number {
    return this.#watched.size;
  }

  /**
   * @param refs the credentials that something was opened with; it ends when the first of them does
   * @param onEnded called once
   * @returns a function that stops watching
   */
  watch(refs: readonly CredentialRef[], onEnded: () => void): () => void {
    const holder = (): void => {
      stop();
      onEnded();
    };
    const stop = (): void => {
      for (const ref of refs) {
        const name = credentialNameOf(ref);
        const watched = this.#watched.get(name);
        watched?.holders.delete(holder);
        if (watched?.holders.size === 0) this.#watched.delete(name);
      }
    };
    for (const ref of refs) {
      const name = credentialNameOf(ref);
      const watched = this.#watched.get(name) ?? { ref, holders: new Set() };
      watched.holders.add(holder);
      this.#watched.set(name, watched);
    }
    return stop;
  }

  /**
   * Whether the credential is valid now, for callers that have only its name, such as a signed URL.
   * @throws WeirError UNAVAILABLE when it can't be checked
   */
  async isLive(ref: CredentialRef): Promise<boolean> {
    if (expiryOf(ref) <= this.#nowMs()) return false;
    try {
      if (ref.kind === 'token') return (await this.#revoked([ref.tokenId])).length === 0;
      return (await this.#endedForAuth([ref])).length === 0;
    } catch (cause) {
      throw new WeirError(ErrorCode.UNAVAILABLE, 'The credential cannot be checked now; try again', {}, { cause });
    }
  }

  async close(): Promise<void> {
    clearInterval(this.#ticker);
    await Promise.all(this.#subscriptions.map((subscription) => subscription.close()));
    await this.#checking;
    this.#watched.clear();
  }

  get #intervalMs(): number {
    return this.ports.intervalMs ?? CHECK_INTERVAL_MS;
  }

  #list(): Watched[] {
    return [...this.#watched.values()];
  }

  #end(name: string): void {
    for (const holder of this.#watched.get(name)?.holders ?? []) holder();
  }

  #tick(): void {
    const nowMs = this.#nowMs();
    for (const [name, { ref }] of this.#watched) if (expiryOf(ref) <= nowMs) this.#end(name);
    if (nowMs < this.#nextCheckMs || this.#checking !== undefined) return;
    this.#nextCheckMs = nowMs + this.#intervalMs;
    this.#checking = this.#look(this.#list()).finally(() => {
      this.#checking = undefined;
    });
  }

  /** Never rejects. Redis and auth are asked separately: the answer of one counts even when the other is away. */
  async #look(watched: readonly Watched[]): Promise<void> {
    const refs = watched.map(({ ref }) => ref);
    let hasFailed = false;
    for (let from = 0; from < refs.length; from += MAX_ASKED_AT_ONCE) {
      const asked = refs.slice(from, from + MAX_ASKED_AT_ONCE);
      const tokenIds = asked.flatMap((ref) => (ref.kind === 'token' ? [ref.tokenId] : []));
      const answers = await Promise.allSettled([
        this.#revoked(tokenIds).then((ids) => ids.map((id) => `token:${id}`)),
        this.#endedForAuth(asked).then((ended) => ended.map(credentialNameOf)),
      ]);
      for (const answer of answers) {
        if (answer.status === 'fulfilled') for (const name of answer.value) this.#end(name);
        else hasFailed = true;
        if (answer.status === 'rejected' && !this.#isTroubled)
          this.ports.log.warn(
            { err: answer.reason },
            'credentials in use could not be checked; what was opened with them stays open',
          );
        this.#isTroubled ||= answer.status === 'rejected';
      }
    }
    this.#isTroubled = hasFailed;
  }

  async #revoked(tokenIds: readonly string[]): Promise<string[]> {
    if (tokenIds.length === 0) return [];
    const marks = await within(REDIS_TIMEOUT_MS, this.ports.redis.mget(...tokenIds.map(revocationKey)));
    return tokenIds.filter((_id, index) => marks[index] !== null);
  }

  async #endedForAuth(refs: readonly CredentialRef[]): Promise<CredentialRef[]> {
    const { ended } = await this.ports.bus.call(Auth.method.findEnded, { credentials: refs.map(credentialRefMessage) });
    return ended.flatMap((index) => refs[index] ?? []);
  }
}
