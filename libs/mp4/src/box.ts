/**
 * Writes ISO base media file format boxes (ISO 14496-12) for the beginnings of files. It isn't made for the hot path.
 */
export type BoxPart = Uint8Array | readonly BoxPart[];

export function bytesOf(parts: readonly BoxPart[]): Uint8Array {
  const flat: Uint8Array[] = [];
  flatten(parts, flat);
  const bytes = new Uint8Array(flat.reduce((sum, part) => sum + part.length, 0));
  let offset = 0;
  for (const part of flat) {
    bytes.set(part, offset);
    offset += part.length;
  }
  return bytes;
}

function flatten(parts: readonly BoxPart[], into: Uint8Array[]): void {
  for (const part of parts) {
    if (part instanceof Uint8Array) into.push(part);
    else flatten(part, into);
  }
}

export function box(type: string, ...content: readonly BoxPart[]): Uint8Array {
  const flat: Uint8Array[] = [];
  flatten(content, flat);
  const size = flat.reduce((sum, part) => sum + part.length, 8);
  return bytesOf([u32(size), ascii(type), flat]);
}

export const fullBox = (type: string, version: number, flags: number, ...content: readonly BoxPart[]): Uint8Array =>
  box(type, u32(version * 0x100_0000 + flags), ...content);

export const ascii = (text: string): Uint8Array => Uint8Array.from(text, (character) => character.charCodeAt(0));
export const u8 = (...values: readonly number[]): Uint8Array => Uint8Array.from(values);
export const u16 = (...values: readonly number[]): Uint8Array =>
  Uint8Array.from(values.flatMap((value) => [value >> 8, value]));
export const u32 = (...values: readonly number[]): Uint8Array =>
  Uint8Array.from(values.flatMap((value) => [value >>> 24, value >>> 16, value >>> 8, value]));
export const u64 = (value: number): Uint8Array => u32(Math.floor(value / 2 ** 32), value % 2 ** 32);
export const zeros = (length: number): Uint8Array => new Uint8Array(length);
