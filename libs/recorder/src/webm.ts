import {
  concat,
  element,
  floatElement,
  longSize,
  longUintElement,
  openElement,
  size32,
  textElement,
  UNKNOWN_SIZE,
  uintElement,
} from './ebml.js';
import type { ContainerWriter, MediaSample } from './recorded-track.js';
import type { AudioConfig, TrackConfig, VideoConfig } from './track-config.js';

/** Element ids of Matroska (RFC 9559) that WebM files of weir have. */
export const ID = {
  ebml: 0x1a45dfa3,
  segment: 0x18538067,
  seekHead: 0x114d9b74,
  seek: 0x4dbb,
  seekId: 0x53ab,
  seekPosition: 0x53ac,
  info: 0x1549a966,
  timestampScale: 0x2ad7b1,
  duration: 0x4489,
  date: 0x4461,
  muxingApp: 0x4d80,
  writingApp: 0x5741,
  tracks: 0x1654ae6b,
  trackEntry: 0xae,
  trackNumber: 0xd7,
  trackUid: 0x73c5,
  trackType: 0x83,
  lacing: 0x9c,
  language: 0x22b59c,
  codecId: 0x86,
  codecPrivate: 0x63a2,
  seekPreRoll: 0x56bb,
  video: 0xe0,
  pixelWidth: 0xb0,
  pixelHeight: 0xba,
  audio: 0xe1,
  samplingFrequency: 0xb5,
  channels: 0x9f,
  cues: 0x1c53bb6b,
  cuePoint: 0xbb,
  cueTime: 0xb3,
  cueTrackPositions: 0xb7,
  cueTrack: 0xf7,
  cueClusterPosition: 0xf1,
  cluster: 0x1f43b675,
  timestamp: 0xe7,
  simpleBlock: 0xa3,
  void: 0xec,
} as const;

const NS_PER_MS = 1_000_000;
/** Dates count from 2001. */
export const EPOCH_2001_MS = 978_307_200_000;
/** A decoder of Opus needs this much sound before its output is right. */
const OPUS_PRE_ROLL_NS = 80_000_000;
/** A cluster ends before a key frame, after this much time, and at this size. */
const MAX_CLUSTER_MS = 5_000;
const MAX_CLUSTER_BYTES = 4 * 1024 * 1024;
const BLOCK_HEAD_BYTES = 9;

export const ebmlHeader = (): Uint8Array =>
  element(
    ID.ebml,
    uintElement(0x4286, 1),
    uintElement(0x42f7, 1),
    uintElement(0x42f2, 4),
    uintElement(0x42f3, 8),
    textElement(0x4282, 'webm'),
    uintElement(0x4287, 4),
    uintElement(0x4285, 2),
  );

export function infoElement(startedAtMs: number, durationMs?: number): Uint8Array {
  return element(
    ID.info,
    uintElement(ID.timestampScale, NS_PER_MS),
    ...(durationMs === undefined ? [] : [floatElement(ID.duration, durationMs)]),
    element(ID.date, dateBytes(startedAtMs)),
    textElement(ID.muxingApp, 'weir'),
    textElement(ID.writingApp, 'weir'),
  );
}

function dateBytes(unixMs: number): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigInt64(0, BigInt(Math.round(unixMs - EPOCH_2001_MS)) * BigInt(NS_PER_MS));
  return bytes;
}

export const tracksElement = (configs: readonly TrackConfig[]): Uint8Array =>
  element(ID.tracks, ...configs.map((config, index) => trackEntry(config, index + 1)));

function trackEntry(config: TrackConfig, number: number): Uint8Array {
  return element(
    ID.trackEntry,
    uintElement(ID.trackNumber, number),
    uintElement(ID.trackUid, number),
    uintElement(ID.trackType, config.kind === 'video' ? 1 : 2),
    uintElement(ID.lacing, 0),
    textElement(ID.language, 'und'),
    ...(config.kind === 'video' ? videoElements(config) : audioElements(config)),
  );
}

function videoElements({ codec, width, height, av1 }: VideoConfig): Uint8Array[] {
  return [
    textElement(ID.codecId, `V_${codec}`),
    ...(av1 === undefined ? [] : [element(ID.codecPrivate, av1.configuration)]),
    element(ID.video, uintElement(ID.pixelWidth, width), uintElement(ID.pixelHeight, height)),
  ];
}

function audioElements({ channels }: AudioConfig): Uint8Array[] {
  // RFC 7845 §5.1: version, channels, no pre-skip, 48 kHz, no gain, mapping family 0.
  const head = [...'OpusHead'].map((character) => character.charCodeAt(0));
  return [
    textElement(ID.codecId, 'A_OPUS'),
    element(ID.codecPrivate, Uint8Array.of(...head, 1, channels, 0, 0, 0x80, 0xbb, 0, 0, 0, 0, 0)),
    uintElement(ID.seekPreRoll, OPUS_PRE_ROLL_NS),
    element(ID.audio, floatElement(ID.samplingFrequency, 48_000), uintElement(ID.channels, channels)),
  ];
}

const CAPTURED_BYTES = 16;

/** WebM has no element for it, so it is in one that readers skip. The file that is delivered doesn't have it. */
const capturedElement = ({ partMs, senderMs }: { readonly partMs: number; readonly senderMs: number }): Uint8Array => {
  const content = new DataView(new ArrayBuffer(CAPTURED_BYTES));
  content.setFloat64(0, partMs);
  content.setFloat64(8, senderMs);
  return element(ID.void, new Uint8Array(content.buffer));
};

/** Reads the content of a captured element; undefined if it is no such. */
export const capturedIn = (content: Uint8Array): { partMs: number; senderMs: number } | undefined => {
  if (content.length !== CAPTURED_BYTES) return undefined;
  const view = new DataView(content.buffer, content.byteOffset, content.length);
  return { partMs: view.getFloat64(0), senderMs: view.getFloat64(8) };
};

interface Block {
  readonly timeMs: number;
  readonly sample: MediaSample;
}

/** Clusters have a known size and are written in one piece. The segment's size is unknown while it grows. */
export class WebmWriter implements ContainerWriter {
  header(configs: readonly TrackConfig[], startedAtMs: number, isFirst: boolean): Uint8Array {
    const tracks = tracksElement(configs);
    if (!isFirst) return tracks;
    return concat([ebmlHeader(), openElement(ID.segment, UNKNOWN_SIZE), infoElement(startedAtMs), tracks]);
  }

  captured(_configs: readonly TrackConfig[], fileMs: number, senderMs: number): Uint8Array {
    return capturedElement({ partMs: fileMs, senderMs });
  }

  /** The first video's key frames begin a new cluster. */
  media(samples: readonly MediaSample[], configs: readonly TrackConfig[]): Uint8Array[] {
    const firstVideo = configs.findIndex(({ kind }) => kind === 'video');
    const inOrder = samples
      .map((sample) => ({ sample, timeMs: Math.round((sample.pts * 1000) / configs[sample.track]!.timescale) }))
      .sort((a, b) => a.timeMs - b.timeMs);
    const clusters: Uint8Array[] = [];
    let blocks: Block[] = [];
    let bytes = 0;
    for (const block of inOrder) {
      const isCut = block.sample.track === firstVideo && block.sample.isKeyFrame;
      const isFull = block.timeMs - (blocks[0]?.timeMs ?? block.timeMs) > MAX_CLUSTER_MS || bytes > MAX_CLUSTER_BYTES;
      if (blocks.length > 0 && (isCut || isFull)) {
        clusters.push(writeCluster(blocks));
        blocks = [];
        bytes = 0;
      }
      blocks.push(block);
      bytes += block.sample.bytes;
    }
    if (blocks.length > 0) clusters.push(writeCluster(blocks));
    return clusters;
  }
}

export function clusterHead(timeMs: number, blockBytes: number): Uint8Array {
  const timestamp = longUintElement(ID.timestamp, timeMs);
  return concat([openElement(ID.cluster, longSize(timestamp.length + blockBytes)), timestamp]);
}

function writeCluster(blocks: readonly Block[]): Uint8Array {
  const startMs = blocks[0]!.timeMs;
  const blockBytes = blocks.reduce((sum, { sample }) => sum + BLOCK_HEAD_BYTES + sample.bytes, 0);
  const head = clusterHead(startMs, blockBytes);
  const bytes = new Uint8Array(head.length + blockBytes);
  const view = new DataView(bytes.buffer);
  bytes.set(head);
  let offset = head.length;
  for (const { timeMs, sample } of blocks) {
    bytes[offset] = ID.simpleBlock;
    view.setUint32(offset + 1, size32(4 + sample.bytes));
    bytes[offset + 5] = 0x80 | (sample.track + 1);
    view.setInt16(offset + 6, timeMs - startMs);
    bytes[offset + 8] = sample.isKeyFrame ? 0x80 : 0;
    offset += BLOCK_HEAD_BYTES;
    for (const chunk of sample.chunks) {
      bytes.set(chunk, offset);
      offset += chunk.length;
    }
  }
  return bytes;
}
