import type { TrackDescription } from '@weir/frames';

import type { Container } from './recorded-track.js';
import { configOf } from './track-config.js';

interface Kind {
  readonly name: string;
  readonly video: readonly string[];
  readonly audio: readonly string[];
}

const KINDS: Readonly<Record<Container, Kind>> = {
  webm: { name: 'WebM', video: ['VP8', 'VP9', 'AV1'], audio: ['opus'] },
  mp4: { name: 'MP4', video: ['H264', 'H265', 'AV1'], audio: ['opus', 'MPEG4-GENERIC'] },
};

const MAX_VIDEO_TRACKS = 3;
/** Layouts of more channels need a mapping that the track's description doesn't give. */
const MAX_OPUS_CHANNELS = 2;

export type Fit =
  { readonly tag: 'fits'; readonly container: Container } | { readonly tag: 'unfit'; readonly reason: string };

const isContainer = (name: string): name is Container => Object.hasOwn(KINDS, name);

/**
 * Which file a stream's tracks fit into without transcoding. Without a wish it is WebM if that holds all of them, and
 * MP4 otherwise.
 */
export function containerFor(tracks: readonly TrackDescription[], wish?: string): Fit {
  if (wish !== undefined && !isContainer(wish)) {
    return { tag: 'unfit', reason: `a recording is a webm or an mp4 file; ${JSON.stringify(wish)} is neither` };
  }
  const unusable = unusableIn(tracks);
  if (unusable !== undefined) return { tag: 'unfit', reason: unusable };
  const fitting = (['webm', 'mp4'] as const).filter((container) => misfits(tracks, container).length === 0);
  const [container] = wish === undefined ? fitting : fitting.filter((name) => name === wish);
  if (container !== undefined) return { tag: 'fits', container };
  const wanted: readonly Container[] = wish === undefined ? ['webm', 'mp4'] : [wish];
  const reasons = wanted.map((name) => `${KINDS[name].name} can't hold ${misfits(tracks, name).join(' and ')}`);
  const advice = fitting[0] === undefined ? '' : `; it fits into ${fitting[0]}`;
  return { tag: 'unfit', reason: `without transcoding, ${reasons.join(', and ')}${advice}` };
}

function unusableIn(tracks: readonly TrackDescription[]): string | undefined {
  const videos = tracks.filter(({ kind }) => kind === 'video').length;
  if (tracks.length === 0) return 'the stream has no track';
  if (videos > MAX_VIDEO_TRACKS) return `a recording has at most ${MAX_VIDEO_TRACKS} videos; the stream has ${videos}`;
  if (tracks.length - videos > 1) return `a recording has one audio track; the stream has ${tracks.length - videos}`;
  return undefined;
}

/** What the container can't hold, in words. */
function misfits(tracks: readonly TrackDescription[], container: Container): string[] {
  return tracks.flatMap((track) => {
    const { kind, codec, channels } = track;
    if (!KINDS[container][kind].includes(codec)) return [codec];
    if (codec === 'opus' && channels > MAX_OPUS_CHANNELS) return [`opus of ${channels} channels`];
    return configOf(track) === undefined ? [`${codec} whose parameters are missing`] : [];
  });
}
