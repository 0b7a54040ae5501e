import { ascii, box, type BoxPart, bytesOf, fullBox, u16, u32, u64 } from './box.js';
import { boxesIn, type ReadBox } from './box-reader.js';
import { movieHeader, MOVIE_TIMESCALE, trackBox, type TrackShape } from './init-segment.js';
import type { SampleTable } from './sample-table.js';

/** A track of a movie header, with its `stsd` unchanged. */
export interface MovieTrack extends TrackShape {
  readonly sampleDescription: Uint8Array;
}

export interface IndexedTrack extends MovieTrack {
  readonly table: SampleTable;
}

const CO64_ENTRIES = 8;

/** Reads the tracks of a `moov` that `writeInitSegment` wrote. */
export function readMovieTracks(moov: Uint8Array): MovieTrack[] {
  const view = new DataView(moov.buffer, moov.byteOffset, moov.byteLength);
  const tracks: MovieTrack[] = [];
  for (const trak of boxesIn(view, 8, view.byteLength)) {
    if (trak.type !== 'trak') continue;
    const header = childOf(view, trak, 'tkhd');
    const media = childOf(view, trak, 'mdia');
    const mediaHeader = media && childOf(view, media, 'mdhd');
    const handler = media && childOf(view, media, 'hdlr');
    const information = media && childOf(view, media, 'minf');
    const table = information && childOf(view, information, 'stbl');
    const description = table && childOf(view, table, 'stsd');
    if (!header || !mediaHeader || !handler || !description) continue;
    tracks.push({
      trackId: view.getUint32(header.start + 12),
      timescale: view.getUint32(mediaHeader.start + 20),
      isVideo: view.getUint32(handler.start + 8) === 0x76696465,
      width: view.getUint16(header.end - 8),
      height: view.getUint16(header.end - 4),
      sampleDescription: moov.slice(description.start - 8, description.end),
    });
  }
  return tracks;
}

function childOf(view: DataView, { start, end }: ReadBox, type: string): ReadBox | undefined {
  for (const child of boxesIn(view, start, end)) if (child.type === type) return child;
  return undefined;
}

/**
 * Writes the beginning of a file that isn't fragmented: `ftyp`, `moov` and the head of `mdat`, whose media data has
 * `dataBytes` bytes. The index comes first, so that a player can begin before it has the whole file.
 */
export function writeMovie(tracks: readonly IndexedTrack[], dataBytes: number): Uint8Array {
  const fileType = box('ftyp', ascii('isom'), u32(0x200), ascii('isom'), ascii('iso2'), ascii('mp41'));
  const used = tracks.filter(({ table }) => !table.isEmpty);
  const durationMs = Math.max(0, ...used.map(endMsOf));
  const highestTrackId = Math.max(...used.map(({ trackId }) => trackId));
  const moov = box('moov', movieHeader(durationMs, highestTrackId), used.map(movieTrackBox));
  const dataHead = bytesOf([u32(1), ascii('mdat'), u64(dataBytes + 16)]);
  moveChunks(moov, fileType.length + moov.length + dataHead.length);
  return bytesOf([fileType, moov, dataHead]);
}

const endMsOf = ({ table, timescale }: IndexedTrack) => Math.round((table.endPts * MOVIE_TIMESCALE) / timescale);

function movieTrackBox(track: IndexedTrack): Uint8Array {
  const { table, timescale, sampleDescription, ...shape } = track;
  const durationMs = endMsOf(track);
  const emptyMs = Math.round((table.startPts * MOVIE_TIMESCALE) / timescale);
  return trackBox({
    ...{ ...shape, timescale, durationMs, mediaTicks: table.mediaTicks },
    edits: editsOf(emptyMs, durationMs - emptyMs, table.firstComposition),
    sampleTable: table.write(sampleDescription),
  });
}

/** The track begins later than the file, or with a sample that is decoded before it is shown (§8.6.6). */
function editsOf(emptyMs: number, shownMs: number, mediaTicks: number): BoxPart {
  if (emptyMs === 0 && mediaTicks === 0) return [];
  const rate = u16(1, 0);
  const entries = [emptyMs === 0 ? [] : [u32(emptyMs, 0xffff_ffff), rate], u32(shownMs, mediaTicks), rate];
  return box('edts', fullBox('elst', 0, 0, u32(emptyMs === 0 ? 1 : 2), entries));
}

/** Adds to all chunk offsets in a whole `moov`. */
function moveChunks(moov: Uint8Array, by: number): void {
  const view = new DataView(moov.buffer, moov.byteOffset, moov.byteLength);
  for (const trak of boxesIn(view, 8, view.byteLength)) {
    if (trak.type !== 'trak') continue;
    const path = ['mdia', 'minf', 'stbl', 'co64'];
    const offsets = path.reduce<ReadBox | undefined>((parent, type) => parent && childOf(view, parent, type), trak);
    if (offsets === undefined) continue;
    for (let at = offsets.start + CO64_ENTRIES; at < offsets.end; at += 8) {
      view.setBigUint64(at, view.getBigUint64(at) + BigInt(by));
    }
  }
}
