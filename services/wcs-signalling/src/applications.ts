import type { Bus } from '@weir/bus';
import { Auth, AuthEvents, ErrorCode, isWeirError, type Application } from '@weir/contracts';

const KNOWN_MS = 30_000;
/** It is short because a new application must work at once. */
const UNKNOWN_MS = 1_000;
const MAX_REMEMBERED = 1_000;

/** Finds applications by appKey. It caches them for a while and forgets them when they change. */
export class Applications {
  readonly #remembered = new Map<string, { application: Application | undefined; untilMs: number }>();
  readonly #asked = new Map<string, Promise<Application | undefined>>();
  /** Grows with every change, so that the answer to an earlier question isn't cached. */
  #generation = 0;
  readonly #subscription: { close(): Promise<void> };

  constructor(private readonly bus: Pick<Bus, 'call' | 'subscribe'>) {
    this.#subscription = bus.subscribe(AuthEvents.method.applicationChanged, ({ appKey }) => this.forget(appKey));
  }

  /** Undefined when there is no such application. Throws WeirError when it can't find out. */
  async find(appKey: string): Promise<Application | undefined> {
    const known = this.#remembered.get(appKey);
    if (known !== undefined && known.untilMs > Date.now()) return known.application;
    const running = this.#asked.get(appKey);
    if (running !== undefined) return running;
    const asked = this.#ask(appKey).finally(() => {
      if (this.#asked.get(appKey) === asked) this.#asked.delete(appKey);
    });
    this.#asked.set(appKey, asked);
    return asked;
  }

  forget(appKey: string): void {
    this.#remembered.delete(appKey);
    this.#asked.delete(appKey);
    this.#generation += 1;
  }

  forgetAll(): void {
    this.#remembered.clear();
    this.#asked.clear();
    this.#generation += 1;
  }

  async close(): Promise<void> {
    await this.#subscription.close();
    this.forgetAll();
  }

  async #ask(appKey: string): Promise<Application | undefined> {
    const generation = this.#generation;
    const application = await this.#call(appKey);
    if (generation === this.#generation) this.#remember(appKey, application);
    return application;
  }

  async #call(appKey: string): Promise<Application | undefined> {
    try {
      return await this.bus.call(Auth.method.getApplication, { appKey });
    } catch (error) {
      if (isWeirError(error, ErrorCode.NOT_FOUND) || isWeirError(error, ErrorCode.INVALID)) return undefined;
      throw error;
    }
  }

  #remember(appKey: string, application: Application | undefined): void {
    if (this.#remembered.size >= MAX_REMEMBERED) this.#remembered.clear();
    const untilMs = Date.now() + (application === undefined ? UNKNOWN_MS : KNOWN_MS);
    this.#remembered.set(appKey, { application, untilMs });
  }
}
