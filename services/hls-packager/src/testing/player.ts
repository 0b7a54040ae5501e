import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** A player that follows playlists as a program does, with one request at a time. */
export class Player {
  constructor(
    private readonly url: string,
    private readonly headers: Record<string, string> = {},
  ) {}

  /** @param path absolute, or relative to the address of `from` */
  get(path: string, init: RequestInit = {}): Promise<Response> {
    return fetch(new URL(path, this.url), { ...init, headers: { ...this.headers, ...init.headers } });
  }

  async text(path: string): Promise<string> {
    const response = await this.get(path);
    const text = await response.text();
    if (!response.ok) throw new Error(`${response.status} ${text}`);
    return text;
  }

  async bytes(path: string): Promise<Buffer> {
    const response = await this.get(path);
    if (!response.ok) throw new Error(`${response.status} ${await response.text()}`);
    return Buffer.from(await response.arrayBuffer());
  }
}

export interface MediaPlaylist {
  readonly text: string;
  readonly mediaSequence: number;
  readonly discontinuitySequence: number;
  readonly hasEnded: boolean;
  readonly discontinuities: number;
  readonly maps: readonly string[];
  readonly segments: readonly string[];
  readonly parts: readonly string[];
  readonly hint: string | undefined;
}

export function parsePlaylist(text: string): MediaPlaylist {
  const lines = text.split('\n');
  const number = (tag: string) => Number(lines.find((line) => line.startsWith(`${tag}:`))?.slice(tag.length + 1) ?? 0);
  const uris = (tag: string) =>
    lines.filter((line) => line.startsWith(`${tag}:`)).map((line) => /URI="([^"]*)"/.exec(line)?.[1] ?? '');
  return {
    text,
    mediaSequence: number('#EXT-X-MEDIA-SEQUENCE'),
    discontinuitySequence: number('#EXT-X-DISCONTINUITY-SEQUENCE'),
    hasEnded: lines.includes('#EXT-X-ENDLIST'),
    discontinuities: lines.filter((line) => line === '#EXT-X-DISCONTINUITY').length,
    maps: uris('#EXT-X-MAP'),
    segments: lines.filter((line) => line !== '' && !line.startsWith('#')),
    parts: uris('#EXT-X-PART'),
    hint: uris('#EXT-X-PRELOAD-HINT')[0],
  };
}

export interface Probed {
  readonly codecs: readonly string[];
  readonly pictures: number;
}

/** The result of ffprobe after it has played an address for `seconds`. */
export async function probe(url: string, seconds = 2, headers?: string): Promise<Probed> {
  const args = ['-v', 'error', ...(headers === undefined ? [] : ['-headers', `${headers}\r\n`])];
  const read = [
    '-read_intervals',
    `%+${seconds}`,
    '-count_frames',
    '-show_entries',
    'stream=codec_name,nb_read_frames',
  ];
  const { stdout } = await run('ffprobe', [...args, ...read, '-of', 'json', url], { timeout: 25_000 });
  const { streams } = JSON.parse(stdout) as { streams: { codec_name: string; nb_read_frames?: string }[] };
  return {
    codecs: streams.map((stream) => stream.codec_name),
    pictures: Number(streams[0]?.nb_read_frames ?? 0),
  };
}
