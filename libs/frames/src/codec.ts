/**
 * What ffmpeg (5.1 and later) makes pictures and sound of, when it comes by RTP. AV1 isn't among it: that version reads no
 * RTP of AV1.
 */
const DECODABLE = {
  video: ['H264', 'H265', 'VP8', 'VP9', 'JPEG', 'MP4V-ES', 'MPV', 'H261', 'H263', 'H263-1998', 'H263-2000', 'THEORA'],
  audio: [
    ...['opus', 'PCMU', 'PCMA', 'MPEG4-GENERIC', 'MP4A-LATM', 'MPA', 'G722', 'L16', 'SPEEX', 'VORBIS', 'GSM'],
    ...['AC3', 'AMR', 'AMR-WB', 'G726-16', 'G726-24', 'G726-32', 'G726-40'],
    ...['AAL2-G726-16', 'AAL2-G726-24', 'AAL2-G726-32', 'AAL2-G726-40'],
  ],
} as const satisfies Record<'audio' | 'video', readonly string[]>;

const SPELLINGS: ReadonlyMap<string, string> = new Map([
  ...[...DECODABLE.video, ...DECODABLE.audio, 'AV1'].map((name) => [name.toLowerCase(), name] as const),
  ['hevc', 'H265'],
]);

/**
 * A codec is called what SDP's rtpmap calls it, in one spelling: that of the contracts, of `TrackDescription` and of every
 * comparison. Others write it in any case. A codec that isn't known keeps the name that it came with.
 */
export const codecNamed = (name: string): string => SPELLINGS.get(name.toLowerCase()) ?? name;

/** Whether pictures or sound can be made of it. */
export function isDecodable(kind: 'audio' | 'video', codec: string): boolean {
  const known: readonly string[] = DECODABLE[kind];
  return known.includes(codec);
}
