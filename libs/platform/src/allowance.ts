export interface AllowanceRate {
  /** What may be taken at once. */
  readonly burst: number;
  /** What comes back in a second. */
  readonly perSecond: number;
}

/** A token bucket: it allows a burst, then a steady rate. Times are milliseconds of one monotonic clock. */
export class Allowance {
  #left: number;
  #atMs: number;

  constructor(
    private readonly rate: AllowanceRate,
    nowMs: number,
  ) {
    this.#left = rate.burst;
    this.#atMs = nowMs;
  }

  /** Takes one; false if nothing is left. */
  take(nowMs: number): boolean {
    this.#refill(nowMs);
    if (this.#left < 1) return false;
    this.#left -= 1;
    return true;
  }

  isFull(nowMs: number): boolean {
    this.#refill(nowMs);
    return this.#left >= this.rate.burst;
  }

  #refill(nowMs: number): void {
    const gained = ((nowMs - this.#atMs) / 1_000) * this.rate.perSecond;
    this.#left = Math.min(this.rate.burst, this.#left + Math.max(0, gained));
    this.#atMs = nowMs;
  }
}

const SWEEP_INTERVAL_MS = 1_000;

/** One allowance for each address. Forgets the addresses that have taken nothing for as long as a refill takes. */
export class AddressAllowances {
  readonly #allowances = new Map<string, Allowance>();
  #sweptMs = 0;

  constructor(private readonly rate: AllowanceRate) {}

  take(address: string, nowMs: number): boolean {
    let allowance = this.#allowances.get(address);
    if (allowance === undefined) {
      this.#sweep(nowMs);
      allowance = new Allowance(this.rate, nowMs);
      this.#allowances.set(address, allowance);
    }
    return allowance.take(nowMs);
  }

  get addresses(): number {
    return this.#allowances.size;
  }

  #sweep(nowMs: number): void {
    if (nowMs - this.#sweptMs < SWEEP_INTERVAL_MS) return;
    this.#sweptMs = nowMs;
    for (const [address, allowance] of this.#allowances) if (allowance.isFull(nowMs)) this.#allowances.delete(address);
  }
}
