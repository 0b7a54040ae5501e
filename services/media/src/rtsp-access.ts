import { randomBytes } from 'node:crypto';
import { permits, type Access } from '@weir/access';
import { isWeirError, ErrorCode } from '@weir/contracts';
import {
  awaitsSignature,
  DEFAULT_SERVER_CONFIG,
  parseRtspUrl,
  signStreamUrl,
  verifyCredentials,
  verifyStreamPassword,
  verifyStreamUrl,
  type HostAnswer,
  type Refusal,
  type RtspUrl,
  type ServerChallenge,
  type ServerEffect,
  type SignatureVerdict,
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

/** What somebody wants of a path, and what he shows for it. */
export type RtspRequest = Pick<
  Extract<ServerEffect, { tag: 'authorise' }>,
  'verb' | 'path' | 'url' | 'method' | 'requestUrl' | 'credentials'
>;

const FOR_SIGNATURES: readonly ServerChallenge[] = ['digest-sha-256', 'digest-md5'];
/** Of tokens and keys only hashes are kept, so they can't be the secret of a Digest: they have to be shown. */
const FOR_TOKENS: readonly ServerChallenge[] = ['basic'];

/**
 * Who may push to or play an RTSP URL of this node: whoever holds a URL that the node has signed, with the signature in
 * its place or as the password of a Digest, or a token or API key with the grant, as the password (Basic) or `?token=`.
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
  async decide(request: RtspRequest, awaitedUrl?: string): Promise<HostAnswer> {
    const { verb, path, url } = request;
    const stream = streamNameOf(path);
    if (stream === undefined) return refused('not-found');
    const isAwaited =
      verb === 'publish' && awaitedUrl !== undefined && saltOf(url) === saltOf(parseRtspUrl(awaitedUrl));
    const nowMs = isAwaited ? 0 : Date.now();
    const isByPassword = awaitsSignature(url);
    if (isByPassword && request.credentials === undefined) return refused('unauthenticated', FOR_SIGNATURES);
    const signed = isByPassword ? this.verifyPassword(request, nowMs) : verifyStreamUrl(url, verb, [this.key], nowMs);
    if (signed.tag === 'valid' && (verb === 'play' || isAwaited)) return { tag: 'accepted' };
    if (isByPassword)
      return signed.tag === 'refused' && signed.refusal === 'bad-signature'
        ? refused('unauthenticated', FOR_SIGNATURES)
        : refused('forbidden');
    const token = tokenOf(request);
    if (token === undefined || token === '')
      return signed.tag === 'refused' && signed.refusal === 'missing'
        ? refused('unauthenticated', FOR_TOKENS)
        : refused('forbidden');
    const decision = await this.decideByToken(token, verb, stream);
    return decision === 'accepted' ? { tag: 'accepted' } : refused(decision, FOR_TOKENS);
  }

  private verifyPassword({ verb, url, method, requestUrl, credentials }: RtspRequest, nowMs: number): SignatureVerdict {
    if (credentials === undefined) return { tag: 'refused', refusal: 'missing' };
    const { username } = credentials;
    const { realm } = DEFAULT_SERVER_CONFIG;
    return verifyStreamPassword(url, verb, [this.key], nowMs, (password) =>
      verifyCredentials(credentials, {
        ...{ method, url: requestUrl, realm, username },
        secret: { tag: 'password', password },
      }),
    );
  }

  private async decideByToken(token: string, verb: RtspVerb, stream: StreamName): Promise<'accepted' | Refusal> {
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

const tokenOf = ({ url, credentials }: RtspRequest): string | undefined =>
  new URLSearchParams(url.query).get('token') ??
  (credentials?.scheme === 'basic' ? credentials.password : undefined) ??
  url.user?.password;

const refused = (refusal: Refusal, challenges?: readonly ServerChallenge[]): HostAnswer => ({
  tag: 'refused',
  refusal,
  ...(challenges !== undefined && { challenges }),
});
