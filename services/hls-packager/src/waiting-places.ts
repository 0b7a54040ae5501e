import { ErrorCode, WeirError } from '@weir/contracts';

/** Limits how many requests of one address wait at a time. */
export class WaitingPlaces {
  readonly #taken = new Map<string, number>();

  constructor(private readonly maxPerAddress: number) {}

  /** Throws EXHAUSTED when no place is left. */
  async during<Result>(address: string, work: () => Promise<Result>): Promise<Result> {
    const taken = this.#taken.get(address) ?? 0;
    if (taken >= this.maxPerAddress) {
      throw new WeirError(
        ErrorCode.EXHAUSTED,
        'Too many requests from this address are waiting; ask again when some are answered',
      );
    }
    this.#taken.set(address, taken + 1);
    try {
      return await work();
    } finally {
      const left = (this.#taken.get(address) ?? 1) - 1;
      if (left > 0) this.#taken.set(address, left);
      else this.#taken.delete(address);
    }
  }
}
