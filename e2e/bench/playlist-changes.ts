/** A change to media playlists that may affect players with default settings. */
export interface PlaylistChange {
  readonly name: string;
  /** @param isFirst whether the player begins with this playlist; its later requests are blocking reloads */
  change(playlist: string, isFirst: boolean): string;
}

const SECONDS_BEFORE_END = 0.25;

export const PLAYLIST_CHANGES: readonly PlaylistChange[] = [
  { name: 'as it is', change: (playlist) => playlist },
  { name: 'parts of the last segment', change: (playlist) => withPartsOfLast(playlist, 1) },
  { name: `EXT-X-START ${SECONDS_BEFORE_END} s before the end`, change: withStart },
  { name: 'PART-HOLD-BACK of three part targets', change: (playlist) => withHoldBack(playlist, 3) },
  {
    name: 'the first playlist with two segments',
    change: (playlist, isFirst) => (isFirst ? withLastSegments(playlist, 2) : playlist),
  },
  { name: 'three segments at any time', change: (playlist) => withLastSegments(playlist, 3) },
];

/** Where each finished segment ends, as an index of the line after its URI. */
const endsOf = (lines: readonly string[]): number[] =>
  lines.flatMap((line, index) => (line.startsWith('#EXTINF') ? [index + 2] : []));

/** Removes the parts of all finished segments but the last `count`. */
function withPartsOfLast(playlist: string, count: number): string {
  const lines = playlist.split('\n');
  const from = endsOf(lines).at(-count - 1) ?? 0;
  return lines.filter((line, index) => index >= from || !line.startsWith('#EXT-X-PART:')).join('\n');
}

function withStart(playlist: string): string {
  const tag = `#EXT-X-START:TIME-OFFSET=-${SECONDS_BEFORE_END},PRECISE=YES`;
  return playlist.replace(/^(#EXT-X-VERSION:.*)$/m, `$1\n${tag}`);
}

function withHoldBack(playlist: string, partTargets: number): string {
  const partTargetS = Number(/PART-TARGET=([\d.]+)/.exec(playlist)?.[1]);
  return playlist.replace(/PART-HOLD-BACK=[\d.]+/, `PART-HOLD-BACK=${(partTargets * partTargetS).toFixed(5)}`);
}

/** Leaves only the last finished segments and the unfinished one. Players always get whole playlists, not deltas. */
function withLastSegments(playlist: string, count: number): string {
  const lines = playlist.replace(/CAN-SKIP-UNTIL=[\d.]+,/, '').split('\n');
  const firstOf = (prefix: string) => lines.findIndex((line) => line.startsWith(prefix));
  const map = lines[firstOf('#EXT-X-MAP')];
  const ends = endsOf(lines);
  const dropped = ends.length - count;
  const from = ends[dropped - 1];
  if (map === undefined || from === undefined) return lines.join('\n');
  const header = lines
    .slice(0, firstOf('#EXT-X-MAP'))
    .map((line) => line.replace(/(?<=^#EXT-X-MEDIA-SEQUENCE:)\d+/, (msn) => String(Number(msn) + dropped)));
  return [...header, map, ...lines.slice(from)].join('\n');
}
