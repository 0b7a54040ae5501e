import { randomBytes } from 'node:crypto';
import { permits, type Access } from '@weir/access';
import { isWeirError, ErrorCode } from '@weir/contracts';
import {
  parseRtspUrl,
  signStreamUrl,
  verifyStreamUrl,
  type Credentials,
  type Refusal,
  type RtspUrl,
} from '@weir/protocol-rtsp';

export type RtspVerb = 'publish' | 'play';

export interface StreamName {
  tenant: string;
  streamName: string;
}

/** `<tenant>/<stream name>`; the name may itself have slashes. */
export const rtspPath = ({ tenant, streamName }: StreamName): string => `${tenant}/${streamName}`;

export function streamNameOf(path: string): StreamName | undefined {
  const slash = path.indexOf('/');
  if (slash <= 0 || slash === path.length - 1) return undefined;
  return { tenant: path.slice(0, slash), streamName: path.slice(slash + 1) };
}

/**
 * Who may push to or play an RTSP URL of this node: whoever holds a URL that the node has signed, or a token or API key
 * with the grant, given as the password (Basic) or as `?token=`.
 */
export class RtspAccess {
  /** Signed URLs name this node, and its streams end with it, so its key needs to live no longer. */
  private readonly key = randomBytes(32);

  constructor(
    private readonly access: Pick<Access, 'authenticate'>,
    /** `rtsp://host:port`, as clients reach this node. */
    private readonly origin: string,
  ) {}

  signedUrl(stream: StreamName, verb: RtspVerb, expiresInMs: number): string {
    return signStreamUrl({
      origin: this.origin,
      path: rtspPath(stream),
      verb,
      expiresAtS: Math.ceil((Date.now() + expiresInMs) / 1_000),
      salt: randomBytes(9).toString('base64url'),
      key: this.key,
    });
  }

  /**
   * @param awaitedUrl the push URL that the path's session was given, if there is one. It is good for that session and
   * as long as that lives, so that a pusher whose ffmpeg has died may come back; the session's own patience bounds it.
   */
  async decide(
    verb: RtspVerb,
    path: string,
    url: RtspUrl,
    credentials: Credentials | undefined,
    awaitedUrl?: string,
  ): Promise<'accepted' | Refusal> {
    const stream = streamNameOf(path);
    if (stream === undefined) return 'not-found';
    const isAwaited =
      verb === 'publish' && awaitedUrl !== undefined && saltOf(url) === saltOf(parseRtspUrl(awaitedUrl));
    const signed = verifyStreamUrl(url, verb, [this.key], isAwaited ? 0 : Date.now());
    if (signed.tag === 'valid' && (verb === 'play' || isAwaited)) return 'accepted';
    const token = new URLSearchParams(url.query).get('token') ?? passwordOf(credentials) ?? url.user?.password;
    if (token === undefined || token === '')
      return signed.tag === 'refused' && signed.refusal === 'missing' ? 'unauthenticated' : 'forbidden';
    try {
      const principal = await this.access.authenticate(token);
      return permits(principal, verb, stream.tenant, stream.streamName) ? 'accepted' : 'forbidden';
    } catch (error) {
      if (isWeirError(error, ErrorCode.UNAUTHENTICATED)) return 'unauthenticated';
      if (isWeirError(error, ErrorCode.UNAVAILABLE) || isWeirError(error, ErrorCode.DEADLINE)) return 'unavailable';
      throw error;
    }
  }
}

const saltOf = (url: RtspUrl | undefined): string | null => new URLSearchParams(url?.query).get('salt');

const passwordOf = (credentials: Credentials | undefined): string | undefined =>
  credentials?.scheme === 'basic' ? credentials.password : undefined;
