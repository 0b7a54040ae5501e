export interface ReadBox {
  readonly type: string;
  /** The offsets of its content. */
  readonly start: number;
  readonly end: number;
}

/** The boxes between two offsets, without those inside them. It ends at the first one that isn't whole. */
export function* boxesIn(view: DataView, start: number, end: number): Generator<ReadBox> {
  for (let offset = start; offset + 8 <= end;) {
    const size = view.getUint32(offset);
    const type = String.fromCharCode(...[4, 5, 6, 7].map((index) => view.getUint8(offset + index)));
    if (size < 8 || offset + size > end) return;
    yield { type, start: offset + 8, end: offset + size };
    offset += size;
  }
}
