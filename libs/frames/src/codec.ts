/**
 * The codecs that ffmpeg 5.1 and later can decode from RTP. AV1 is missing because version 5.1 can't read AV1 from RTP.
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
 * Returns the project's one spelling of a codec: the name from SDP's rtpmap, as the contracts, `TrackDescription` and
 * every comparison spell it. Other programs write it in any case. An unknown codec keeps its name.
 */
export const codecNamed = (name: string): string => SPELLINGS.get(name.toLowerCase()) ?? name;

/** Whether its packets can be decoded into pictures or sound. */
export function isDecodable(kind: 'audio' | 'video', codec: string): boolean {
  const known: readonly string[] = DECODABLE[kind];
  return known.includes(codec);
}
