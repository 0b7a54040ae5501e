import { ascii, box, type BoxPart, bytesOf, fullBox, u16, u32, u64, u8, zeros } from './box.js';
import type { AacTrack, H264Track, H265Track, MediaTrack, OpusTrack } from './media-track.js';

/** Writes `ftyp` and `moov` of a fragmented MP4 (CMAF header), which EXT-X-MAP refers to. */
export function writeInitSegment(tracks: readonly MediaTrack[]): Uint8Array {
  const boxes = tracks.map((track) =>
    trackBox({ ...shapeOf(track), durationMs: 0, mediaTicks: 0, edits: [], sampleTable: emptyTable(track) }),
  );
  const highestTrackId = Math.max(...tracks.map((track) => track.trackId));
  return bytesOf([
    box('ftyp', ascii('iso6'), u32(1), ascii('iso6'), ascii('cmfc'), ascii('mp41')),
    box('moov', movieHeader(0, highestTrackId), boxes, box('mvex', tracks.map(trackDefaults))),
  ]);
}

const UNITY_MATRIX = u32(0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000);

/** Ticks per second of the durations in `mvhd` and `tkhd`. */
export const MOVIE_TIMESCALE = 1000;

export const movieHeader = (durationMs: number, highestTrackId: number): Uint8Array =>
  fullBox(
    'mvhd',
    0,
    0,
    u32(0, 0, MOVIE_TIMESCALE, durationMs, 0x10000),
    u16(0x100, 0),
    zeros(8),
    UNITY_MATRIX,
    zeros(24),
    u32(1 + highestTrackId),
  );

const trackDefaults = ({ trackId }: MediaTrack) => fullBox('trex', 0, 0, u32(trackId, 1, 0, 0, 0));

/** The size of a track's pictures; undefined for sound. */
function dimensionsOf(track: MediaTrack): { width: number; height: number } | undefined {
  if (track.codec === 'AV1') return track;
  return track.codec === 'H264' || track.codec === 'H265' ? track.sps : undefined;
}

/** What the boxes of a track say, whatever its codec. */
export interface TrackShape {
  readonly trackId: number;
  readonly timescale: number;
  readonly isVideo: boolean;
  /** In pixels; 0 for sound. */
  readonly width: number;
  readonly height: number;
}

function shapeOf(track: MediaTrack): TrackShape {
  const dimensions = dimensionsOf(track);
  const { width, height } = dimensions ?? { width: 0, height: 0 };
  return { trackId: track.trackId, timescale: track.timescale, isVideo: dimensions !== undefined, width, height };
}

const emptyTable = (track: MediaTrack) =>
  box(
    'stbl',
    fullBox('stsd', 0, 0, u32(1), sampleEntry(track)),
    fullBox('stts', 0, 0, u32(0)),
    fullBox('stsc', 0, 0, u32(0)),
    fullBox('stsz', 0, 0, u32(0, 0)),
    fullBox('stco', 0, 0, u32(0)),
  );

export interface TrackBoxOptions extends TrackShape {
  readonly durationMs: number;
  readonly mediaTicks: number;
  /** `edts`, if there is one. */
  readonly edits: BoxPart;
  /** `stbl`. */
  readonly sampleTable: BoxPart;
}

/** Writes `trak`. */
export function trackBox({ trackId, timescale, isVideo, width, height, ...content }: TrackBoxOptions): Uint8Array {
  const header = fullBox(
    'tkhd',
    0,
    3,
    u32(0, 0, trackId, 0, content.durationMs),
    zeros(8),
    u16(0, 0, isVideo ? 0 : 0x100, 0),
    UNITY_MATRIX,
    u32(width * 0x10000, height * 0x10000),
  );
  const undetermined = u16(0x55c4, 0);
  const dataReference = box('dinf', fullBox('dref', 0, 0, u32(1), fullBox('url ', 0, 1)));
  const media = box(
    'mdia',
    // Version 1, because 32 bits are too few for 14 hours of a video's ticks.
    fullBox('mdhd', 1, 0, u32(0, 0, 0, 0, timescale), u64(content.mediaTicks), undetermined),
    fullBox('hdlr', 0, 0, u32(0), ascii(isVideo ? 'vide' : 'soun'), zeros(12), ascii('weir\0')),
    box(
      'minf',
      isVideo ? fullBox('vmhd', 0, 1, zeros(8)) : fullBox('smhd', 0, 0, zeros(4)),
      dataReference,
      content.sampleTable,
    ),
  );
  return box('trak', header, content.edits, media);
}

function sampleEntry(track: MediaTrack): Uint8Array {
  switch (track.codec) {
    case 'H264':
      return videoEntry('avc1', track.sps, box('avcC', avcConfiguration(track)));
    case 'H265':
      return videoEntry('hvc1', track.sps, box('hvcC', hevcConfiguration(track)));
    case 'AV1':
      return videoEntry('av01', track, box('av1C', track.configuration));
    case 'MPEG4-GENERIC':
      return audioEntry('mp4a', track, fullBox('esds', 0, 0, elementaryStreamDescriptor(track)));
    case 'opus':
      return audioEntry('Opus', track, box('dOps', u8(0, track.channels), u16(0), u32(48_000), u16(0), u8(0)));
    default:
      return track satisfies never;
  }
}

const videoEntry = (type: string, { width, height }: { width: number; height: number }, configuration: Uint8Array) =>
  box(
    type,
    zeros(6),
    u16(1),
    zeros(16),
    u16(width, height),
    u32(0x480000, 0x480000, 0),
    u16(1),
    zeros(32),
    u16(0x18, 0xffff),
    configuration,
  );

const audioEntry = (type: string, { channels, timescale }: AacTrack | OpusTrack, configuration: Uint8Array) =>
  box(
    type,
    zeros(6),
    u16(1),
    zeros(8),
    u16(channels, 16, 0, 0),
    u16(timescale < 0x10000 ? timescale : 0, 0),
    configuration,
  );

/** ISO 14496-15 §5.3.3.1. */
function avcConfiguration({ sps, parameterSets }: H264Track): BoxPart {
  const withLength = (set: Uint8Array) => [u16(set.length), set];
  const spsList = parameterSets.sps.slice(0, 31);
  const ppsList = parameterSets.pps.slice(0, 255);
  const hasChroma = ![66, 77, 88].includes(sps.profileIdc);
  return [
    u8(1, sps.profileIdc, sps.constraintFlags, sps.levelIdc, 0xff, 0xe0 | spsList.length),
    spsList.map(withLength),
    u8(ppsList.length),
    ppsList.map(withLength),
    hasChroma ? u8(0xfc | sps.chromaFormatIdc, 0xf8 | (sps.bitDepthLuma - 8), 0xf8 | (sps.bitDepthChroma - 8), 0) : [],
  ];
}

/** ISO 14496-15 §8.3.3.1. */
function hevcConfiguration({ sps, parameterSets }: H265Track): BoxPart {
  const array = (type: number, sets: readonly Uint8Array[]) => [
    u8(0x80 | type),
    u16(sets.length),
    sets.map((set) => [u16(set.length), set]),
  ];
  return [
    u8(1, (sps.profileSpace << 6) | (sps.tierFlag << 5) | sps.profileIdc),
    u32(sps.compatibilityFlags),
    sps.constraintFlags,
    u8(sps.levelIdc),
    u16(0xf000),
    u8(0xfc, 0xfc | sps.chromaFormatIdc, 0xf8 | (sps.bitDepthLuma - 8), 0xf8 | (sps.bitDepthChroma - 8)),
    u16(0),
    u8((sps.temporalLayers << 3) | (sps.temporalIdNesting << 2) | 3, 3),
    array(32, parameterSets.vps),
    array(33, parameterSets.sps),
    array(34, parameterSets.pps),
  ];
}

/** ISO 14496-1 §7.2.6: descriptors of less than 128 bytes each. */
function elementaryStreamDescriptor({ config }: AacTrack): BoxPart {
  const descriptor = (tag: number, ...content: BoxPart[]) => {
    const body = bytesOf(content);
    return bytesOf([u8(tag, body.length), body]);
  };
  const decoder = descriptor(4, u8(0x40, 0x15, 0, 0, 0), u32(0, 0), descriptor(5, config));
  return descriptor(3, u16(0), u8(0), decoder, descriptor(6, u8(2)));
}
