/** A decoder keeps several pictures, of a size that only the stream tells: 4096×2304 is the largest that is decoded. */
export const MAX_DECODED_PIXELS = 4_096 * 2_304;

/** As arguments before `-i`: ffmpeg's decoders refuse more, whatever was known of the picture before; few threads hold few pictures. */
export const DECODER_LIMITS: readonly string[] = ['-max_pixels', String(MAX_DECODED_PIXELS), '-threads', '2'];

export const isTooLargeToDecode = ({ width, height }: { width: number; height: number }): boolean =>
  width * height > MAX_DECODED_PIXELS;

export const describeTooLarge = ({ width, height }: { width: number; height: number }, purpose: string): string =>
  `a picture of ${width}×${height} is too large for ${purpose}: at most ${MAX_DECODED_PIXELS} pixels are decoded`;

/** As a filter of ffmpeg: no larger than a screen, whatever comes in. */
export const SCALE_TO_SCREEN =
  "scale=w='min(1920,iw)':h='min(1920,ih)':force_original_aspect_ratio=decrease:force_divisible_by=2";
