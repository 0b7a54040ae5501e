export interface SilentFrame {
  data: Uint8Array;
  durationTicks: number;
}

/** RFC 6716: CELT, full band, 20 ms, one frame without energy; the second of each pair is for two channels. */
const OPUS_SILENCE = [Uint8Array.of(0xf8, 0xff, 0xfe), Uint8Array.of(0xfc, 0xff, 0xfe)] as const;

/** An AAC-LC raw data block with empty spectra: one single channel element, or one channel pair element. */
const AAC_SILENCE = [
  Uint8Array.of(0x00, 0xc8, 0x00, 0x80, 0x23, 0x80),
  Uint8Array.of(0x21, 0x00, 0x49, 0x90, 0x02, 0x19, 0x00, 0x23, 0x80),
] as const;

/** Returns a frame that fills holes in the audio; undefined for layouts of more than two channels. */
export function silentFrame(
  audio: { codec: 'opus' | 'MPEG4-GENERIC'; channels: number },
  aacFrameTicks: number,
): SilentFrame | undefined {
  if (audio.channels < 1 || audio.channels > 2) return undefined;
  const layout = audio.channels === 1 ? 0 : 1;
  return audio.codec === 'opus'
    ? { data: OPUS_SILENCE[layout], durationTicks: 960 }
    : { data: AAC_SILENCE[layout], durationTicks: aacFrameTicks };
}
