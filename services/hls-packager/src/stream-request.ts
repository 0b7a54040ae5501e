import { z } from 'zod';
import { isPlainName, MAX_STREAM_NAME_LENGTH } from './video-path.js';

/** The stream that `POST /stream/` asks for. */
export type StreamRequest =
  | { readonly tag: 'robot'; readonly id: string; readonly rtsp: RtspAddress }
  | { readonly tag: 'stream'; readonly name: string };

/**
 * The part of an `rtsp://` URL that names a stream. Its host doesn't matter: it is compared, and never connected to.
 */
export interface RtspAddress {
  readonly tenant: string;
  readonly streamName: string;
}

const MAX_URL_LENGTH = 4_096;

const robotBody = z.object({ id: z.string().refine(isPlainName), rtsp_url: z.string().min(1).max(MAX_URL_LENGTH) });
const streamBody = z.object({ stream: z.string().min(1).max(MAX_STREAM_NAME_LENGTH) });

export type StreamRequestReading =
  | { readonly tag: 'request'; readonly request: StreamRequest }
  /** A field is missing or has another type. */
  | { readonly tag: 'invalid'; readonly field: string }
  /** The RTSP URL can't belong to this platform. */
  | { readonly tag: 'foreign' };

export function readStreamRequest(body: unknown): StreamRequestReading {
  const byName = streamBody.safeParse(body);
  if (byName.success) return { tag: 'request', request: { tag: 'stream', name: byName.data.stream } };
  const parsed = robotBody.safeParse(body);
  if (!parsed.success) return { tag: 'invalid', field: String(parsed.error.issues[0]?.path[0] ?? 'body') };
  const { id, rtsp_url: url } = parsed.data;
  const rtsp = readRtspUrl(url);
  if (rtsp === 'no-url') return { tag: 'invalid', field: 'rtsp_url' };
  return rtsp === 'foreign' ? { tag: 'foreign' } : { tag: 'request', request: { tag: 'robot', id, rtsp } };
}

/** Our own play URLs are `rtsp(s)://<anywhere>/<tenant>/<stream name>?<signature>`. */
function readRtspUrl(text: string): RtspAddress | 'no-url' | 'foreign' {
  const url = URL.parse(text);
  if (url === null) return 'no-url';
  if (url.protocol !== 'rtsp:' && url.protocol !== 'rtsps:') return 'foreign';
  try {
    const [, tenant = '', ...rest] = url.pathname.split('/').map((part) => decodeURIComponent(part));
    const streamName = rest.join('/');
    return tenant === '' || streamName === '' ? 'foreign' : { tenant, streamName };
  } catch (error) {
    if (error instanceof URIError) return 'no-url';
    throw error;
  }
}
