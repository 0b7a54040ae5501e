import { randomBytes } from 'node:crypto';
import {
  credentialRefOf,
  permits,
  publishPatternsOf,
  type Access,
  type CredentialRef,
  type CredentialWatch,
  type Principal,
} from '@weir/access';
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

/** What a client wants to do with a path, and its credentials. */
export type RtspRequest = Pick<
  Extract<ServerEffect, { tag: 'authorise' }>,
  'verb' | 'path' | 'url' | 'method' | 'requestUrl' | 'credentials'
>;

/** What permitted a request. */
export type Permit =
  /** `credential` is the one whose holder got the URL. The URL is invalid after the credential ends. */
  | { readonly tag: 'signed-url'; readonly credential: CredentialRef | undefined }
  /** A token or API key with the grant. */
  | {
      readonly tag: 'credential';
      readonly credential: CredentialRef;
      readonly subject: Principal['subject'];
      /** The object patterns of its publish grants. */
      readonly publishPatterns: readonly string[];
    };

export type RtspDecision =
  { readonly tag: 'permitted'; readonly permit: Permit } | Extract<HostAnswer, { tag: 'refused' }>;

const FOR_SIGNATURES: readonly ServerChallenge[] = ['digest-sha-256', 'digest-md5'];
/** The platform keeps only hashes of tokens and keys, so they can't be a Digest's secret: the client sends them. */
const FOR_TOKENS: readonly ServerChallenge[] = ['basic'];

/**
 * Decides who may push to or play an RTSP URL of this node. A client needs one of two things: a URL that the node has
 * signed, with the signature in the URL or as the password of a Digest; or a token or API key with the grant, as the
 * password (Basic) or as `?token=`. A signed push URL is valid for the session that waits for the push. A credential is
 * valid for every name that it may publish.
 */
export class RtspAccess {
  /** Signed URLs name this node, and its streams end with its process, so the key needn't live longer. */
  readonly #key = randomBytes(32);

  constructor(
    private readonly access: Pick<Access, 'authenticate'>,
    private readonly credentials: Pick<CredentialWatch, 'isLive'>,
    /** `rtsp://host:port`, as clients reach this node. */
    private readonly origin: string,
  ) {}

  /** @param credential the credential of the client that gets the URL; the URL is invalid after it ends */
  signedUrl(stream: StreamName, verb: RtspVerb, expiresInMs: number, credential?: CredentialRef): string {
    return signStreamUrl({
      origin: this.origin,
      path: rtspPath(stream),
      verb,
      expiresAtS: Math.ceil((Date.now() + expiresInMs) / 1_000),
      salt: saltWith(credential),
      key: this.#key,
    });
  }

  /**
   * @param awaitedUrl the push URL of the path's session, if there is one. It is valid as long as that session lives,
   * so that a pusher whose ffmpeg has died can come back. The session itself limits how long it waits.
   */
  async decide(request: RtspRequest, awaitedUrl?: string): Promise<RtspDecision> {
    const { verb, path, url } = request;
    const stream = streamNameOf(path);
    if (stream === undefined) return refused('not-found');
    const isAwaited =
      verb === 'publish' && awaitedUrl !== undefined && saltOf(url) === saltOf(parseRtspUrl(awaitedUrl));
    const nowMs = isAwaited ? 0 : Date.now();
    const isByPassword = awaitsSignature(url);
    if (isByPassword && request.credentials === undefined) return refused('unauthenticated', FOR_SIGNATURES);
    const signed = isByPassword ? this.#verifyPassword(request, nowMs) : verifyStreamUrl(url, verb, [this.#key], nowMs);
    if (signed.tag === 'valid' && isAwaited) return permitted({ tag: 'signed-url', credential: undefined });
    if (signed.tag === 'valid' && verb === 'play') return this.#decideBySignature(url);
    if (isByPassword)
      return signed.tag === 'refused' && signed.refusal === 'bad-signature'
        ? refused('unauthenticated', FOR_SIGNATURES)
        : refused('forbidden');
    const token = tokenOf(request);
    if (token === undefined || token === '')
      return signed.tag === 'refused' && signed.refusal === 'missing'
        ? refused('unauthenticated', FOR_TOKENS)
        : refused('forbidden');
    return this.#decideByCredential(token, verb, stream);
  }

  /** Checks the credential for which a URL was signed: it may have ended since. The signature has been verified. */
  async #decideBySignature(url: RtspUrl): Promise<RtspDecision> {
    const credential = credentialInSalt(saltOf(url) ?? '');
    if (credential === undefined) return permitted({ tag: 'signed-url', credential });
    try {
      const isLive = await this.credentials.isLive(credential);
      return isLive ? permitted({ tag: 'signed-url', credential }) : refused('forbidden');
    } catch (error) {
      if (isWeirError(error, ErrorCode.UNAVAILABLE)) return refused('unavailable');
      throw error;
    }
  }

  #verifyPassword({ verb, url, method, requestUrl, credentials }: RtspRequest, nowMs: number): SignatureVerdict {
    if (credentials === undefined) return { tag: 'refused', refusal: 'missing' };
    const { username } = credentials;
    const { realm } = DEFAULT_SERVER_CONFIG;
    return verifyStreamPassword(url, verb, [this.#key], nowMs, (password) =>
      verifyCredentials(credentials, {
        ...{ method, url: requestUrl, realm, username },
        secret: { tag: 'password', password },
      }),
    );
  }

  async #decideByCredential(token: string, verb: RtspVerb, stream: StreamName): Promise<RtspDecision> {
    try {
      const principal = await this.access.authenticate(token);
      if (!permits(principal, verb, stream.tenant, stream.streamName)) return refused('forbidden', FOR_TOKENS);
      const { subject } = principal;
      const publishPatterns = publishPatternsOf(principal);
      return permitted({ tag: 'credential', credential: credentialRefOf(principal), subject, publishPatterns });
    } catch (error) {
      if (isWeirError(error, ErrorCode.UNAUTHENTICATED)) return refused('unauthenticated', FOR_TOKENS);
      if (isWeirError(error, ErrorCode.UNAVAILABLE) || isWeirError(error, ErrorCode.DEADLINE))
        return refused('unavailable', FOR_TOKENS);
      throw error;
    }
  }
}

const RANDOM_BYTES = 9;
const RANDOM_LENGTH = (RANDOM_BYTES / 3) * 4;
const EXPIRY_LENGTH = 9;

/** Random characters, then the credential: `t`, its expiry in base 36 and its id, or `k` and its id. All is signed. */
function saltWith(credential: CredentialRef | undefined): string {
  const random = randomBytes(RANDOM_BYTES).toString('base64url');
  switch (credential?.kind) {
    case 'token':
      return `${random}t${credential.expiresAtMs.toString(36).padStart(EXPIRY_LENGTH, '0')}${credential.tokenId}`;
    case 'key':
      return `${random}k${credential.keyId}`;
    case 'application': // no URL is signed for an application
    case undefined:
      return random;
    default:
      return credential satisfies never;
  }
}

function credentialInSalt(salt: string): CredentialRef | undefined {
  const rest = salt.slice(RANDOM_LENGTH + 1);
  switch (salt[RANDOM_LENGTH]) {
    case 't': {
      const expiresAtMs = parseInt(rest.slice(0, EXPIRY_LENGTH), 36);
      return { kind: 'token', tokenId: rest.slice(EXPIRY_LENGTH), expiresAtMs };
    }
    case 'k':
      return { kind: 'key', keyId: rest };
    default:
      return undefined;
  }
}

const saltOf = (url: RtspUrl | undefined): string | null => new URLSearchParams(url?.query).get('salt');

const tokenOf = ({ url, credentials }: RtspRequest): string | undefined =>
  new URLSearchParams(url.query).get('token') ??
  (credentials?.scheme === 'basic' ? credentials.password : undefined) ??
  url.user?.password;

const permitted = (permit: Permit): RtspDecision => ({ tag: 'permitted', permit });

const refused = (refusal: Refusal, challenges?: readonly ServerChallenge[]): RtspDecision => ({
  tag: 'refused',
  refusal,
  ...(challenges !== undefined && { challenges }),
});
