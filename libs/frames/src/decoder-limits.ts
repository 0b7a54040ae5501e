/**
 * A decoder keeps several pictures, and only the stream states their size. 4096×2304 is the largest size that is
 * decoded.
 */
export const MAX_DECODED_PIXELS = 4_096 * 2_304;

/**
 * Arguments before `-i`. They make ffmpeg's decoders refuse larger pictures, whatever size was announced before. Few
 * threads keep few pictures in memory.
 */
export const DECODER_LIMITS: readonly string[] = ['-max_pixels', String(MAX_DECODED_PIXELS), '-threads', '2'];

export const isTooLargeToDecode = ({ width, height }: { width: number; height: number }): boolean =>
  width * height > MAX_DECODED_PIXELS;

export const describeTooLarge = ({ width, height }: { width: number; height: number }, purpose: string): string =>
  `a picture of ${width}×${height} is too large for ${purpose}: at most ${MAX_DECODED_PIXELS} pixels are decoded`;

/** An ffmpeg filter that scales every picture down to the size of a screen. */
export const SCALE_TO_SCREEN =
  "scale=w='min(1920,iw)':h='min(1920,ih)':force_original_aspect_ratio=decrease:force_divisible_by=2";
