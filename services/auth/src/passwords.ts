import { randomBytes } from 'node:crypto';
import { hash, verify } from '@node-rs/argon2';
import { ErrorCode, WeirError } from '@weir/contracts';

/** argon2id (the library's default algorithm) with 19 MiB, 2 passes and 1 lane, as OWASP recommends. */
const PARAMETERS = { memoryCost: 19_456, timeCost: 2, parallelism: 1, outputLen: 32 } as const;
const CURRENT_PREFIX = `$argon2id$v=19$m=${PARAMETERS.memoryCost},t=${PARAMETERS.timeCost},p=${PARAMETERS.parallelism}$`;

/** Each hash takes a core and 19 MiB: this many run at once, and this many more wait. */
const MAX_RUNNING = 2;
const MAX_WAITING = 200;

export const MIN_PASSWORD_LENGTH = 10;
export const MAX_PASSWORD_LENGTH = 1024;

/** Hashes and verifies passwords, a few at a time. */
export class Passwords {
  #running = 0;
  readonly #waiting: (() => void)[] = [];

  private constructor(private readonly nobodysHash: string) {}

  static async create(): Promise<Passwords> {
    return new Passwords(await hash(randomBytes(32), PARAMETERS));
  }

  hash(password: string): Promise<string> {
    return this.#inTurn(() => hash(password, PARAMETERS));
  }

  /** Takes as long for a user that doesn't exist (no hash) as for one that does. */
  verify(passwordHash: string | undefined, password: string): Promise<boolean> {
    return this.#inTurn(async () => {
      const matches = await verify(passwordHash ?? this.nobodysHash, password);
      return matches && passwordHash !== undefined;
    });
  }

  /** Whether the hash was made with the current parameters. */
  isCurrent(passwordHash: string): boolean {
    return passwordHash.startsWith(CURRENT_PREFIX);
  }

  async #inTurn<T>(work: () => Promise<T>): Promise<T> {
    if (this.#running < MAX_RUNNING) this.#running++;
    else await this.#turn();
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#running--;
      else next();
    }
  }

  #turn(): Promise<void> {
    if (this.#waiting.length >= MAX_WAITING) {
      throw new WeirError(ErrorCode.UNAVAILABLE, 'Too many log-ins at the same time; try again later');
    }
    return new Promise((resolve) => this.#waiting.push(resolve));
  }
}
