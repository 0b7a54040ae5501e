/** Limits the bytes held for each address and in total. An address that holds nothing uses no memory. */
export class ByteBudget {
  readonly #heldBy = new Map<string, number>();
  #total = 0;

  constructor(private readonly limits: { perAddressBytes: number; totalBytes: number }) {}

  get heldBytes(): number {
    return this.#total;
  }

  /** Undefined when the bytes were taken, otherwise the reason why not. */
  take(address: string, bytes: number): 'address-is-full' | 'full' | undefined {
    if ((this.#heldBy.get(address) ?? 0) + bytes > this.limits.perAddressBytes) return 'address-is-full';
    if (this.#total + bytes > this.limits.totalBytes) return 'full';
    this.#add(address, bytes);
    return undefined;
  }

  release(address: string, bytes: number): void {
    this.#add(address, -bytes);
  }

  #add(address: string, bytes: number): void {
    this.#total += bytes;
    const held = (this.#heldBy.get(address) ?? 0) + bytes;
    if (held > 0) this.#heldBy.set(address, held);
    else this.#heldBy.delete(address);
  }
}
