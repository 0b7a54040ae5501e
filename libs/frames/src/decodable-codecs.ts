/**
 * What ffmpeg (5.1 and later) makes pictures and sound of, when it comes by RTP: by the names of SDP's rtpmap. AV1 isn't
 * among it: that version reads no RTP of AV1.
 */
const DECODABLE = {
  video: ['H264', 'H265', 'VP8', 'VP9', 'JPEG', 'MP4V-ES', 'MPV', 'H261', 'H263', 'H263-1998', 'H263-2000', 'THEORA'],
  audio: [
    ...['opus', 'PCMU', 'PCMA', 'MPEG4-GENERIC', 'MP4A-LATM', 'MPA', 'G722', 'L16', 'SPEEX', 'VORBIS', 'GSM'],
    ...['AC3', 'AMR', 'AMR-WB', 'G726-16', 'G726-24', 'G726-32', 'G726-40'],
    ...['AAL2-G726-16', 'AAL2-G726-24', 'AAL2-G726-32', 'AAL2-G726-40'],
  ],
} as const;

/** The codec under the name by which it is known here, or undefined: nothing can be made of it. */
export function decodableCodec(kind: 'audio' | 'video', name: string): string | undefined {
  const known: readonly string[] = DECODABLE[kind];
  return known.find((each) => each.toLowerCase() === name.toLowerCase());
}
