/**
 * A clock that a program can read from a picture: a row of black and white blocks at its top, one bit each. 32 bits are
 * the milliseconds since 1970, which wrap around after 49 days; 8 bits are a check sum.
 */
export const CLOCK_BLOCK_PIXELS = 16;
export const CLOCK_BITS = 40;
const BLACK = 16;
const WHITE = 235;

/** Draws the clock into the top rows of a luma plane that is at least 640 pixels wide. */
export function drawClock(luma: Uint8Array, width: number, epochMs: number): void {
  const time = epochMs % 2 ** 32;
  const first = luma.subarray(0, width);
  for (let bit = 0; bit < CLOCK_BITS; bit++) {
    const isSet = bit < 32 ? Math.floor(time / 2 ** (31 - bit)) % 2 === 1 : ((checkOf(time) >> (39 - bit)) & 1) === 1;
    first.fill(isSet ? WHITE : BLACK, bit * CLOCK_BLOCK_PIXELS, (bit + 1) * CLOCK_BLOCK_PIXELS);
  }
  for (let row = 1; row < CLOCK_BLOCK_PIXELS; row++) luma.set(first, row * width);
}

/** @param bits of a picture, from the left @returns milliseconds modulo 2^32; undefined if there is no clock */
export function readClock(bits: readonly boolean[]): number | undefined {
  const number = (from: number, to: number) => bits.slice(from, to).reduce((sum, bit) => sum * 2 + (bit ? 1 : 0), 0);
  const time = number(0, 32);
  return bits.length === CLOCK_BITS && number(32, CLOCK_BITS) === checkOf(time) ? time : undefined;
}

/** How long ago the clock was drawn; half of 49 days at most, negative if it lies in the future. */
export const ageMs = (clock: number, epochMs: number): number => {
  const age = ((epochMs % 2 ** 32) - clock + 2 ** 32) % 2 ** 32;
  return age < 2 ** 31 ? age : age - 2 ** 32;
};

/** The check sum. A picture that is all black or all white has no valid one. */
const checkOf = (time: number): number => ((time ^ (time >>> 8) ^ (time >>> 16) ^ (time >>> 24)) & 0xff) ^ 0xa5;
