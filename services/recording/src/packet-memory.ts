const SLAB_BYTES = 128 * 1024;

/**
 * Copies packets into large buffers. Node gives each packet of a socket a buffer of its own, and the garbage collector
 * would have much work with so many of them that live for half a second.
 */
export class PacketMemory {
  #slab = Buffer.alloc(0);
  #used = 0;

  /** The copy's memory is never written to again. */
  copied(packet: Buffer): Buffer {
    if (this.#used + packet.length > this.#slab.length) {
      this.#slab = Buffer.allocUnsafeSlow(Math.max(SLAB_BYTES, packet.length));
      this.#used = 0;
    }
    const start = this.#used;
    this.#used += packet.length;
    packet.copy(this.#slab, start);
    return this.#slab.subarray(start, this.#used);
  }
}
