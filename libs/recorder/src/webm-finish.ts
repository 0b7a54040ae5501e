import { opusDurationTicks } from '@weir/frames';

import { concat, element, longSize, longUintElement, openElement, readHead, size32, uintElement } from './ebml.js';
import type { FinishResult, Joint, WritableTarget } from './finish-file.js';
import type { PartReader } from './part-reader.js';
import { PartTime } from './part-time.js';
import { silenceOf } from './sound.js';
import { capturedIn, clusterHead, ebmlHeader, EPOCH_2001_MS, ID, infoElement } from './webm.js';

/** More than a recorder ever puts into one element: the file is damaged. */
const MAX_ELEMENT_BYTES = 64 * 1024 * 1024;
const HEAD_BYTES = 12;
/** A recorder adds silence itself if sound is missing for longer. The times in one cluster reach 32 s. */
const MAX_SILENCE_MS = 30_000;
const TIMESTAMP_BYTES = 10;
const OPUS_TICKS_PER_MS = 48;
const DEFAULT_PICTURE_MS = 33;
const MAX_LAST_PICTURE_MS = 1_000;
/** Without pictures, a player can seek to any cluster; one per second is enough. */
const CUE_INTERVAL_MS = 1_000;

interface Track {
  readonly number: number;
  readonly isVideo: boolean;
  readonly codec: string;
  readonly channels: number;
  /** Its whole element. */
  readonly entry: Uint8Array;
}

/** Where the blocks of a cluster lie in their part. Times are in ms of the part. */
interface Cluster {
  readonly timeMs: number;
  readonly offset: number;
  readonly bytes: number;
  readonly beginsWithKeyFrame: boolean;
}

interface Part {
  readonly reader: PartReader;
  readonly time: PartTime;
  tracks: readonly Track[];
  clusters: Cluster[];
  ends: Map<number, TrackEnd>;
}

interface TrackEnd {
  timeMs: number;
  durationMs: number;
}

const endOf = (end: TrackEnd | undefined): number => (end === undefined ? 0 : end.timeMs + end.durationMs);

export async function finishWebm(readers: readonly PartReader[], target: WritableTarget): Promise<FinishResult> {
  const parts: Part[] = [];
  for (const [index, reader] of readers.entries()) {
    const part = await scan(reader);
    if (part === undefined || part.clusters.length === 0) continue;
    const before = parts.at(-1);
    if (before !== undefined && !continues(part.tracks, before.tracks)) return { tag: 'different-tracks', part: index };
    parts.push(part);
  }
  const [first] = parts;
  if (first === undefined) return { tag: 'empty' };
  const plan = planOf(parts);
  const { bytes: header, clustersBytes } = headerOf(parts, plan);
  await target.write(header);
  for (const { part, cluster, timeMs, silence } of plan.clusters) {
    await target.write(clusterHead(timeMs, cluster?.bytes ?? silence!.length));
    if (cluster === undefined) await target.write(silence!);
    else for await (const piece of part.reader.pieces(cluster.offset, cluster.bytes)) await target.write(piece);
  }
  return {
    ...{ tag: 'finished', container: 'webm', durationMs: plan.durationMs, sizeBytes: header.length + clustersBytes },
    ...{ startedAtMs: first.time.startedAtMs, joints: plan.joints },
  };
}

/** Whether the later part has the tracks of the earlier one. It may have more, because tracks come later. */
function continues(later: readonly Track[], earlier: readonly Track[]): boolean {
  return earlier.every((track, index) => track.codec === later[index]?.codec);
}

/** Finds the header and the whole blocks; undefined if not even the header is whole. */
async function scan(reader: PartReader): Promise<Part | undefined> {
  const part: Part = {
    ...{ reader, time: new PartTime(), tracks: [] },
    ...{ clusters: [], ends: new Map() },
  };
  for (let offset = 0; offset < reader.sizeBytes;) {
    const head = readHead(await reader.bytes(offset, HEAD_BYTES), 0);
    if (head === undefined || (head.size ?? 0) > MAX_ELEMENT_BYTES) break;
    const start = offset + head.headBytes;
    if (head.id === ID.segment) {
      offset = start;
      continue;
    }
    const size = head.size ?? 0;
    const isWhole = start + size <= reader.sizeBytes;
    if (head.id === ID.cluster && part.tracks.length > 0) readCluster(part, await reader.bytes(start, size), start);
    else if (!isWhole) break;
    else if (head.id === ID.info) part.time.startedAtMs = startOf(await reader.bytes(start, size));
    else if (head.id === ID.void) noteCaptured(part, await reader.bytes(start, size));
    else if (head.id === ID.tracks) part.tracks = tracksIn((await reader.bytes(start, size)).slice());
    offset = start + size;
  }
  return part.tracks.length === 0 ? undefined : part;
}

interface Child {
  readonly id: number;
  readonly start: number;
  readonly content: Uint8Array;
}

/** The whole elements inside another. */
function* elementsIn(bytes: Uint8Array): Generator<Child> {
  for (let offset = 0; offset < bytes.length;) {
    const head = readHead(bytes, offset);
    if (head?.size === undefined) return;
    const start = offset + head.headBytes;
    const end = start + head.size;
    if (end > bytes.length) return;
    yield { id: head.id, start: offset, content: bytes.subarray(start, end) };
    offset = end;
  }
}

const uintOf = (bytes: Uint8Array): number => bytes.reduce((value, byte) => value * 256 + byte, 0);

function startOf(info: Uint8Array): number {
  for (const { id, content } of elementsIn(info)) {
    if (id !== ID.date || content.length !== 8) continue;
    const ns = new DataView(content.buffer, content.byteOffset, 8).getBigInt64(0);
    return EPOCH_2001_MS + Number(ns) / 1e6;
  }
  return 0;
}

function noteCaptured({ time }: Part, content: Uint8Array): void {
  const captured = capturedIn(content);
  if (captured !== undefined) time.captured(captured);
}

function tracksIn(bytes: Uint8Array): Track[] {
  return [...elementsIn(bytes)].map(({ start, content }) => {
    const entry = new Map([...elementsIn(content)].map((child) => [child.id, child.content]));
    const audio = entry.get(ID.audio);
    const channels = audio && [...elementsIn(audio)].find(({ id }) => id === ID.channels)?.content;
    return {
      number: uintOf(entry.get(ID.trackNumber) ?? Uint8Array.of(0)),
      isVideo: entry.has(ID.video),
      codec: String.fromCharCode(...(entry.get(ID.codecId) ?? [])),
      channels: channels === undefined ? 0 : uintOf(channels),
      entry: bytes.subarray(start, content.byteOffset - bytes.byteOffset + content.length),
    };
  });
}

function readCluster(part: Part, bytes: Uint8Array, start: number): void {
  const firstVideo = part.tracks.find(({ isVideo }) => isVideo)?.number;
  let timeMs: number | undefined;
  let blockBytes = 0;
  let beginsWithKeyFrame = false;
  for (const { id, start: at, content } of elementsIn(bytes)) {
    if (id === ID.timestamp) timeMs = uintOf(content);
    if (id !== ID.simpleBlock || timeMs === undefined || content.length < 4) continue;
    const track = part.tracks.find(({ number }) => number === (content[0]! & 0x7f));
    if (track === undefined) continue;
    const blockMs = timeMs + ((((content[1]! << 8) | content[2]!) << 16) >> 16);
    if (blockBytes === 0) beginsWithKeyFrame = track.number === firstVideo && (content[3]! & 0x80) !== 0;
    blockBytes = at + content.length + (content.byteOffset - bytes.byteOffset - at) - TIMESTAMP_BYTES;
    noteEnd(part, track, blockMs, content.subarray(4));
  }
  if (timeMs === undefined || blockBytes === 0) return;
  part.clusters.push({ timeMs, offset: start + TIMESTAMP_BYTES, bytes: blockBytes, beginsWithKeyFrame });
}

function noteEnd(part: Part, { number, isVideo }: Track, timeMs: number, data: Uint8Array): void {
  const last = part.ends.get(number);
  if (!isVideo) {
    part.ends.set(number, { timeMs, durationMs: opusDurationTicks(data) / OPUS_TICKS_PER_MS });
    return;
  }
  const stepMs = last === undefined ? 0 : timeMs - last.timeMs;
  const durationMs = stepMs > 0 ? Math.min(stepMs, MAX_LAST_PICTURE_MS) : (last?.durationMs ?? DEFAULT_PICTURE_MS);
  part.ends.set(number, { timeMs: Math.max(timeMs, last?.timeMs ?? 0), durationMs });
}

interface PlannedCluster {
  readonly part: Part;
  readonly timeMs: number;
  /** Undefined for silence between two parts. */
  readonly cluster?: Cluster;
  readonly silence?: Uint8Array;
}

interface Plan {
  readonly clusters: readonly PlannedCluster[];
  readonly durationMs: number;
  readonly joints: readonly Joint[];
}

/** Puts the parts one after another. Sound goes on until the next part begins, because players count its samples. */
function planOf(parts: readonly Part[]): Plan {
  const clusters: PlannedCluster[] = [];
  const joints: Joint[] = [];
  let offsetMs = 0;
  let durationMs = 0;
  for (const [index, part] of parts.entries()) {
    const before = parts[index - 1];
    if (before !== undefined) {
      joints.push({ atMs: offsetMs, missingMs: before.time.missingUntil(part.time, lengthOf(before)) });
      const beforeMs = offsetMs - Math.round(lengthOf(before));
      for (const track of before.tracks) {
        const endMs = beforeMs + endOf(before.ends.get(track.number));
        const silence = track.isVideo ? undefined : silentBlocks(track, offsetMs - endMs);
        if (silence !== undefined) clusters.push({ part: before, timeMs: Math.round(endMs), silence });
      }
    }
    for (const cluster of part.clusters) clusters.push({ part, cluster, timeMs: cluster.timeMs + offsetMs });
    durationMs = offsetMs + lengthOf(part);
    offsetMs = Math.round(durationMs);
  }
  return { clusters, durationMs, joints };
}

const lengthOf = ({ ends }: Part): number => Math.max(...[...ends.values()].map(endOf));

function silentBlocks({ number, channels }: Track, durationMs: number): Uint8Array | undefined {
  const [unit] = silenceOf({ codec: 'opus', channels, timescale: 48_000, aacFrameTicks: 0 });
  if (unit === undefined) return undefined;
  const unitMs = unit.ticks / OPUS_TICKS_PER_MS;
  const blocks = Array.from({ length: Math.round(Math.min(durationMs, MAX_SILENCE_MS) / unitMs) }, (_, index) => {
    const head = new Uint8Array(9);
    const view = new DataView(head.buffer);
    head[0] = ID.simpleBlock;
    view.setUint32(1, size32(4 + unit.data.length));
    head[5] = 0x80 | number;
    view.setInt16(6, index * unitMs);
    head[8] = 0x80;
    return concat([head, unit.data]);
  });
  return blocks.length === 0 ? undefined : concat(blocks);
}

/** The last part has all tracks. A part that has a track's pictures describes it: a video without one has no size. */
function tracksOf(parts: readonly Part[]): Track[] {
  return parts.at(-1)!.tracks.map((track) => {
    const known = parts.find(({ ends }) => ends.has(track.number));
    return known?.tracks.find(({ number }) => number === track.number) ?? track;
  });
}

function headerOf(parts: readonly Part[], plan: Plan): { bytes: Uint8Array; clustersBytes: number } {
  const [first] = parts as [Part];
  const tracks = tracksOf(parts);
  const video = tracks.find(({ isVideo }) => isVideo);
  const tracksElement = element(ID.tracks, ...tracks.map(({ entry }) => entry));
  const info = infoElement(first.time.startedAtMs, plan.durationMs);
  const headBytes = clusterHead(0, 0).length;
  let position = 0;
  let lastCueMs = -Infinity;
  const cues: { timeMs: number; position: number }[] = [];
  for (const { cluster, silence, timeMs } of plan.clusters) {
    const isCue = video === undefined ? timeMs - lastCueMs >= CUE_INTERVAL_MS : cluster?.beginsWithKeyFrame === true;
    if (isCue) {
      cues.push({ timeMs, position });
      lastCueMs = timeMs;
    }
    position += headBytes + (cluster?.bytes ?? silence!.length);
  }
  const cueTrack = video?.number ?? tracks[0]!.number;
  const cueBytes = (clustersStart: number) =>
    element(ID.cues, ...cues.map((cue) => cuePoint(cue.timeMs, cueTrack, clustersStart + cue.position)));
  const seekBytes = seekHead(0, 0, 0).length;
  const cuesStart = seekBytes + info.length + tracksElement.length;
  const clustersStart = cuesStart + cueBytes(0).length;
  const segment = concat([
    seekHead(seekBytes, seekBytes + info.length, cuesStart),
    info,
    tracksElement,
    cueBytes(clustersStart),
  ]);
  const open = openElement(ID.segment, longSize(segment.length + position));
  return { bytes: concat([ebmlHeader(), open, segment]), clustersBytes: position };
}

const cuePoint = (timeMs: number, track: number, position: number): Uint8Array =>
  element(
    ID.cuePoint,
    longUintElement(ID.cueTime, timeMs),
    element(ID.cueTrackPositions, uintElement(ID.cueTrack, track), longUintElement(ID.cueClusterPosition, position)),
  );

function seekHead(info: number, tracks: number, cues: number): Uint8Array {
  const entries = [
    [ID.info, info],
    [ID.tracks, tracks],
    [ID.cues, cues],
  ] as const;
  return element(
    ID.seekHead,
    ...entries.map(([id, position]) =>
      element(ID.seek, uintElement(ID.seekId, id), longUintElement(ID.seekPosition, position)),
    ),
  );
}
