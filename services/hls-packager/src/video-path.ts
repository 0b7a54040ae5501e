import { parseResourceName, type ResourceName } from '@weir/hls';

/** A video: that of a robot's camera, by default its first one, or any stream of the tenant by its name. */
export type VideoTarget =
  | { readonly tag: 'robot'; readonly id: string; readonly camera: string | undefined }
  | { readonly tag: 'stream'; readonly name: string };

/** `index` contains the codecs and the address of the `media` playlist. */
export type VideoFile = { readonly tag: 'index' } | { readonly tag: 'media' } | ResourceName;

export interface VideoPath {
  readonly target: VideoTarget;
  readonly file: VideoFile;
}

/** Names of robots and cameras, and of streams that have an address of the same form. */
const PLAIN_NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/;
export const MAX_STREAM_NAME_LENGTH = 512;
/** Takes the place of a robot's id in a path. A stream's name, which may have slashes, follows it. */
const BY_STREAM_NAME = '~';
const INDEX = 'index.m3u8';
export const MEDIA = 'media.m3u8';

const hasControls = (text: string): boolean => [...text].some((char) => char < ' ' || char === '\u007f');

/** The decoded parts of a raw path after its first part; undefined when one of them isn't a name. */
function namesBelow(root: string, rawPath: string): string[] | undefined {
  if (!rawPath.startsWith(`/${root}/`) || rawPath.length > 4 * MAX_STREAM_NAME_LENGTH) return undefined;
  try {
    const names = rawPath
      .slice(root.length + 2)
      .split('/')
      .map((part) => decodeURIComponent(part));
    return names.some((name) => name === '' || name === '.' || name === '..' || hasControls(name)) ? undefined : names;
  } catch (error) {
    if (error instanceof URIError) return undefined;
    throw error;
  }
}

function targetOf(names: readonly string[]): VideoTarget | undefined {
  const [first, ...rest] = names;
  if (first === BY_STREAM_NAME) {
    const name = rest.join('/');
    return name === '' || name.length > MAX_STREAM_NAME_LENGTH ? undefined : { tag: 'stream', name };
  }
  const [camera] = rest;
  if (first === undefined || rest.length > 1 || !names.every((name) => PLAIN_NAME.test(name))) return undefined;
  return { tag: 'robot', id: first, camera };
}

function fileOf(name: string): VideoFile | undefined {
  if (name === INDEX) return { tag: 'index' };
  if (name === MEDIA) return { tag: 'media' };
  return parseResourceName(name);
}

/** `/videos/<id>/<file>`, `/videos/<id>/<camera>/<file>` or `/videos/~/<stream name>/<file>`, still percent-encoded. */
export function parseVideoPath(rawPath: string): VideoPath | undefined {
  const names = namesBelow('videos', rawPath);
  const file = fileOf(names?.at(-1) ?? '');
  const target = targetOf(names?.slice(0, -1) ?? []);
  return file === undefined || target === undefined ? undefined : { target, file };
}

/** `/stream/<id>`, `/stream/<id>/<camera>` or `/stream/~/<stream name>`, still percent-encoded. */
export function parseStreamPath(rawPath: string): VideoTarget | undefined {
  return targetOf(namesBelow('stream', rawPath) ?? []);
}

/** The path of the target's index playlist; the inverse of `parseVideoPath`. */
export function indexPath(target: VideoTarget): string {
  switch (target.tag) {
    case 'robot':
      return `/videos/${target.id}/${target.camera === undefined ? '' : `${target.camera}/`}${INDEX}`;
    case 'stream':
      return `/videos/${BY_STREAM_NAME}/${encodeURIComponent(target.name)}/${INDEX}`;
    default:
      return target satisfies never;
  }
}

/** The target with the shortest address of a stream. */
export function targetOfStream(name: string): VideoTarget {
  const parts = name.split('/');
  const [id = '', camera] = parts;
  const isPlain = parts.length <= 2 && parts.every((part) => PLAIN_NAME.test(part));
  return isPlain ? { tag: 'robot', id, camera } : { tag: 'stream', name };
}

export const isPlainName = (text: string): boolean => PLAIN_NAME.test(text);
