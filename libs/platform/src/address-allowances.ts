import { charged, fullAllowance, type Allowance, type FrameLimits } from '@weir/timing';

const SWEEP_INTERVAL_MS = 1_000;

/**
 * One allowance for all clients of an address. Forgets the addresses that have taken nothing for as long as a refill
 * takes. Times are milliseconds of one monotonic clock.
 */
export class AddressAllowances {
  readonly #allowances = new Map<string, Allowance>();
  #sweptMs = 0;

  constructor(private readonly limits: FrameLimits) {}

  /** Takes one; false if nothing is left. */
  take(address: string, nowMs: number): boolean {
    const known = this.#allowances.get(address);
    if (known === undefined) this.#sweep(nowMs);
    const left = charged(known ?? fullAllowance(this.limits, nowMs), 1, this.limits, nowMs);
    if (left !== undefined) this.#allowances.set(address, left);
    return left !== undefined;
  }

  get addresses(): number {
    return this.#allowances.size;
  }

  #sweep(nowMs: number): void {
    if (nowMs - this.#sweptMs < SWEEP_INTERVAL_MS) return;
    this.#sweptMs = nowMs;
    const { frameBurst, framesPerSecond } = this.limits;
    for (const [address, { tokens, refilledAtMs }] of this.#allowances)
      if (tokens + ((nowMs - refilledAtMs) / 1_000) * framesPerSecond >= frameBurst) this.#allowances.delete(address);
  }
}
