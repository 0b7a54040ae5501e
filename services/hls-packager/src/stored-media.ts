import type { ResourceName, SegmentOutput } from '@weir/hls';

interface StoredSegment {
  parts: Uint8Array[];
  bytes: number;
  isFinished: boolean;
  /** It is made when a viewer first asks for it. The parts are then views of it. */
  whole: Uint8Array | undefined;
}

/** The bytes of the segments that a playlist names. */
export class StoredMedia {
  readonly #inits = new Map<number, Uint8Array>();
  readonly #segments = new Map<number, StoredSegment>();
  #bytes = 0;

  get bytes(): number {
    return this.#bytes;
  }

  add(output: SegmentOutput): void {
    switch (output.tag) {
      case 'init':
        this.#inits.set(output.initId, output.data);
        this.#bytes += output.data.length;
        return;
      case 'part': {
        const segment = this.#segments.get(output.msn) ?? { parts: [], bytes: 0, isFinished: false, whole: undefined };
        segment.parts.push(output.data);
        segment.bytes += output.data.length;
        this.#segments.set(output.msn, segment);
        this.#bytes += output.data.length;
        return;
      }
      case 'segment-end': {
        const segment = this.#segments.get(output.msn);
        if (segment !== undefined) segment.isFinished = true;
        return;
      }
      case 'stream-end':
        return;
      default:
        output satisfies never;
    }
  }

  get(name: ResourceName): Uint8Array | undefined {
    switch (name.tag) {
      case 'init':
        return this.#inits.get(name.initId);
      case 'segment':
        return this.#whole(name.msn);
      case 'part':
        return this.#segments.get(name.msn)?.parts[name.index];
      default:
        return name satisfies never;
    }
  }

  /** Forgets the segments and the initialisation segments below these numbers. */
  forgetBefore(oldest: { msn: number; initId: number }): void {
    for (const [msn, segment] of this.#segments) {
      if (msn >= oldest.msn) break;
      this.#segments.delete(msn);
      this.#bytes -= segment.bytes;
    }
    for (const [initId, data] of this.#inits) {
      if (initId >= oldest.initId) break;
      this.#inits.delete(initId);
      this.#bytes -= data.length;
    }
  }

  clear(): void {
    this.#inits.clear();
    this.#segments.clear();
    this.#bytes = 0;
  }

  /**
   * Makes the whole segment on demand: low-latency players fetch parts, so many segments are never fetched as a whole.
   */
  #whole(msn: number): Uint8Array | undefined {
    const segment = this.#segments.get(msn);
    if (segment === undefined || !segment.isFinished || segment.whole !== undefined) return segment?.whole;
    const whole = Buffer.concat(segment.parts);
    let offset = 0;
    segment.parts = segment.parts.map(({ length }) => whole.subarray(offset, (offset += length)));
    segment.whole = whole;
    return whole;
  }
}
