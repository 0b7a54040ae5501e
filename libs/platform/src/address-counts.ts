import ipaddr from 'ipaddr.js';

/** Counts what each address holds at the moment. An address that holds nothing uses no memory. */
export class AddressCounts {
  readonly #counts = new Map<string, number>();

  /** Takes one more for the address unless it already holds `limit`; 0 means no limit. */
  take(address: string, limit: number): boolean {
    const held = this.#counts.get(address) ?? 0;
    if (limit > 0 && held >= limit) return false;
    this.#counts.set(address, held + 1);
    return true;
  }

  release(address: string): void {
    const held = this.#counts.get(address) ?? 0;
    if (held > 1) this.#counts.set(address, held - 1);
    else this.#counts.delete(address);
  }

  get addresses(): number {
    return this.#counts.size;
  }
}

/** One name for all addresses of a client: an IPv6 client can use a whole /64. */
export function rateKey(address: string): string {
  if (!ipaddr.isValid(address)) return address;
  const parsed = ipaddr.process(address);
  if (!(parsed instanceof ipaddr.IPv6)) return parsed.toString();
  return `${new ipaddr.IPv6([...parsed.parts.slice(0, 4), 0, 0, 0, 0]).toString()}/64`;
}
