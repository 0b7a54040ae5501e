import { type H264Sps, type H265Sps, parseAacConfig, type ParameterSets } from '@weir/frames';

interface TrackBase {
  trackId: number;
  /** Ticks per second of all times in this track. */
  timescale: number;
}

export interface H264Track extends TrackBase {
  codec: 'H264';
  parameterSets: ParameterSets;
  sps: H264Sps;
}

export interface H265Track extends TrackBase {
  codec: 'H265';
  parameterSets: ParameterSets;
  sps: H265Sps;
}

export interface AacTrack extends TrackBase {
  codec: 'MPEG4-GENERIC';
  /** AudioSpecificConfig. */
  config: Uint8Array;
  channels: number;
}

export interface OpusTrack extends TrackBase {
  codec: 'opus';
  channels: number;
}

/** `configuration` is the AV1CodecConfigurationRecord. */
export interface Av1Track extends TrackBase {
  codec: 'AV1';
  width: number;
  height: number;
  configuration: Uint8Array;
}

export type VideoTrack = H264Track | H265Track;
export type AudioTrack = AacTrack | OpusTrack;
export type MediaTrack = VideoTrack | Av1Track | AudioTrack;

/** Name of the track in a CODECS attribute (RFC 6381; ISO 14496-15 annex E for H.265). */
export function codecString(track: MediaTrack): string {
  switch (track.codec) {
    case 'H264':
      return `avc1.${track.sps.profileLevelId}`;
    case 'H265':
      return h265CodecString(track.sps);
    case 'AV1':
      return av1CodecString(track.configuration);
    case 'MPEG4-GENERIC':
      return `mp4a.40.${parseAacConfig(track.config)?.objectType ?? 2}`;
    case 'opus':
      return 'opus';
    default:
      return track satisfies never;
  }
}

/** Profile, level, tier and bit depth (AV1 in ISO media files, section 5). */
function av1CodecString([, first = 0, second = 0]: Uint8Array): string {
  const level = String(first & 0x1f).padStart(2, '0');
  const depth = (second & 0x40) === 0 ? '08' : (second & 0x20) === 0 ? '10' : '12';
  return `av01.${first >> 5}.${level}${second & 0x80 ? 'H' : 'M'}.${depth}`;
}

function h265CodecString(sps: H265Sps): string {
  const space = ['', 'A', 'B', 'C'][sps.profileSpace] ?? '';
  let compatibility = 0;
  for (let bit = 0; bit < 32; bit++) {
    if (Math.floor(sps.compatibilityFlags / 2 ** (31 - bit)) % 2 === 1) compatibility += 2 ** bit;
  }
  const constraints = [...sps.constraintFlags];
  while (constraints.at(-1) === 0) constraints.pop();
  const tier = sps.tierFlag ? 'H' : 'L';
  return [
    `hvc1.${space}${sps.profileIdc}`,
    compatibility.toString(16).toUpperCase(),
    `${tier}${sps.levelIdc}`,
    ...constraints.map((byte) => byte.toString(16).toUpperCase()),
  ].join('.');
}
