/** Writes EBML (RFC 8794), of which Matroska and WebM files consist. */
export type Element = Uint8Array;

/** Bytes of an element's size field wherever the size isn't known in advance or must be found again. */
const LONG_SIZE_BYTES = 8;

export function concat(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    bytes.set(part, offset);
    offset += part.length;
  }
  return bytes;
}

function idBytes(id: number): Uint8Array {
  const bytes: number[] = [];
  for (let rest = id; rest > 0; rest = Math.floor(rest / 256)) bytes.unshift(rest % 256);
  return Uint8Array.from(bytes);
}

export const UNKNOWN_SIZE = Uint8Array.of(0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff);

/** A size in eight bytes. */
export function longSize(size: number): Uint8Array {
  const bytes = new Uint8Array(LONG_SIZE_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 0x0100_0000 + Math.floor(size / 2 ** 32));
  view.setUint32(4, size % 2 ** 32);
  return bytes;
}

/** A size in four bytes: up to 256 MiB. */
export const size32 = (size: number): number => 0x1000_0000 + size;

function shortSize(size: number): Uint8Array {
  if (size < 0x7f) return Uint8Array.of(0x80 | size);
  if (size < 0x3fff) return Uint8Array.of(0x40 | (size >> 8), size & 0xff);
  return longSize(size);
}

export function element(id: number, ...content: readonly Uint8Array[]): Element {
  const bytes = content.reduce((sum, part) => sum + part.length, 0);
  return concat([idBytes(id), shortSize(bytes), ...content]);
}

/** The head of an element whose content follows. */
export const openElement = (id: number, size: Uint8Array): Uint8Array => concat([idBytes(id), size]);

export const uintElement = (id: number, value: number): Element =>
  element(id, value === 0 ? Uint8Array.of(0) : idBytes(value));

/** An unsigned number in eight bytes, however small it is. */
export function longUintElement(id: number, value: number): Element {
  const bytes = new Uint8Array(8);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, Math.floor(value / 2 ** 32));
  view.setUint32(4, value % 2 ** 32);
  return element(id, bytes);
}

export function floatElement(id: number, value: number): Element {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setFloat64(0, value);
  return element(id, bytes);
}

export const textElement = (id: number, text: string): Element =>
  element(
    id,
    Uint8Array.from(text, (character) => character.charCodeAt(0)),
  );

export interface ElementHead {
  readonly id: number;
  /** Undefined if the size is unknown. */
  readonly size: number | undefined;
  /** Bytes of the id and the size. */
  readonly headBytes: number;
}

/** Reads an id and a size; undefined if the bytes don't begin with both. */
export function readHead(bytes: Uint8Array, offset: number): ElementHead | undefined {
  const first = bytes[offset];
  if (first === undefined || first < 0x10) return undefined;
  const idLength = Math.clz32(first) - 23;
  const sizeFirst = bytes[offset + idLength];
  if (sizeFirst === undefined || sizeFirst === 0) return undefined;
  const sizeLength = Math.clz32(sizeFirst) - 23;
  const headBytes = idLength + sizeLength;
  if (offset + headBytes > bytes.length) return undefined;
  let id = 0;
  for (let index = 0; index < idLength; index++) id = id * 256 + bytes[offset + index]!;
  let size = sizeFirst - 2 ** (8 - sizeLength);
  let isUnknown = size === 2 ** (8 - sizeLength) - 1;
  for (let index = 1; index < sizeLength; index++) {
    const byte = bytes[offset + idLength + index]!;
    if (byte !== 0xff) isUnknown = false;
    size = size * 256 + byte;
  }
  return { id, size: isUnknown ? undefined : size, headBytes };
}
