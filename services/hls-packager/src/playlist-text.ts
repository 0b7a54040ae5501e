import { parseResourceName, type ResourceName } from '@weir/hls';

const RESOURCE = /(?:init-\d+\.mp4|(?:segment|part)-\d+(?:-\d+)?\.m4s)/g;
const DISCONTINUITY_SEQUENCE = /^#EXT-X-DISCONTINUITY-SEQUENCE:(\d+)\n/m;
const MEDIA_SEQUENCE = /^#EXT-X-MEDIA-SEQUENCE:\d+\n/m;

/** Adds a query to the address of every segment, part and initialisation segment. */
export function withQueries(playlist: string, queryOf: (resource: ResourceName) => string): string {
  return playlist.replace(RESOURCE, (name) => {
    const resource = parseResourceName(name);
    return resource === undefined ? name : `${name}?${queryOf(resource)}`;
  });
}

/** Lets a playlist count its discontinuities from `first` instead of 0. */
export function withDiscontinuitiesFrom(first: number, playlist: string): string {
  const counted = Number(DISCONTINUITY_SEQUENCE.exec(playlist)?.[1] ?? 0);
  return playlist
    .replace(DISCONTINUITY_SEQUENCE, '')
    .replace(MEDIA_SEQUENCE, (line) => `${line}#EXT-X-DISCONTINUITY-SEQUENCE:${first + counted}\n`);
}
