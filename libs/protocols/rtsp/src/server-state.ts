import type { Buffer } from 'node:buffer';
import type { AnnouncedTrack, SdpTrack } from '@weir/sdp';
import type { Credentials } from './authentication.js';
import type { RtspEvent, RtspRequest, RtspResponse } from './messages.js';
import type { ProtocolErrorCode } from './protocol-error.js';
import type { PortPair } from './transport-header.js';
import type { RtspUrl } from './url.js';

export interface ServerConfig {
  /** Random, of this connection, at least 64 bits, letters and digits: sessions are named by it and a counter. */
  readonly sessionId: string;
  /** Random, of this connection, at least 64 bits, letters and digits: the Digest nonces begin with it. */
  readonly nonce: string;
  /** How long a Digest nonce may be answered; after that the peer is asked again with another one, `stale=true`. */
  readonly nonceLifeMs: number;
  readonly realm: string;
  /** What 401 offers unless the host says otherwise, in this order. Many clients read only the last Digest. */
  readonly challenges: readonly ServerChallenge[];
  /** Lower transports that SETUP may choose. */
  readonly lowers: readonly ('tcp' | 'udp')[];
  /** How long a session lives without a request, RTCP or a publisher's media. Told to the peer in whole seconds. */
  readonly sessionTimeoutMs: number;
  /** How long a connection without session lives without a request. */
  readonly idleTimeoutMs: number;
  /** How long the host may take to answer an effect. */
  readonly hostTimeoutMs: number;
  /** Requests that may wait while the host answers one. */
  readonly maxQueuedRequests: number;
  /** Of their bodies together. */
  readonly maxQueuedBytes: number;
  /** 401 and 403 answered before the connection is cut. */
  readonly maxRefusals: number;
  readonly maxTracks: number;
}

export type ServerChallenge = 'digest-sha-256' | 'digest-md5' | 'basic';

export const DEFAULT_SERVER_CONFIG: Omit<ServerConfig, 'sessionId' | 'nonce'> = {
  realm: 'weir',
  nonceLifeMs: 5 * 60_000,
  challenges: ['digest-sha-256', 'digest-md5'],
  lowers: ['tcp', 'udp'],
  sessionTimeoutMs: 60_000,
  idleTimeoutMs: 30_000,
  hostTimeoutMs: 15_000,
  maxQueuedRequests: 16,
  maxQueuedBytes: 64 * 1024,
  maxRefusals: 5,
  maxTracks: 8,
};

/** What a connection is about: a stream it plays, or one it publishes. */
export type Presentation =
  | { readonly purpose: 'play'; readonly url: RtspUrl; readonly path: string; readonly tracks: readonly PlayTrack[] }
  | { readonly purpose: 'record'; readonly url: RtspUrl; readonly path: string; readonly tracks: readonly SdpTrack[] };

export type PlayTrack = AnnouncedTrack & { readonly control: string };

/** How one track travels. UDP goes to the address of the RTSP peer and nowhere else. */
export type TrackTransport =
  { readonly tag: 'tcp'; readonly channels: PortPair } | { readonly tag: 'udp'; readonly clientPorts: PortPair };

export interface OpenTrack {
  /** Index in the presentation's tracks. */
  readonly track: number;
  readonly transport: TrackTransport;
}

interface Session {
  readonly presentation: Presentation;
  readonly id: string;
  readonly tracks: readonly OpenTrack[];
}

export type ServerPhase =
  | { readonly tag: 'idle' }
  /** After DESCRIBE or ANNOUNCE. */
  | { readonly tag: 'prepared'; readonly presentation: Presentation }
  | ({ readonly tag: 'ready' } & Session)
  | ({ readonly tag: 'playing' } & Session)
  | ({ readonly tag: 'recording'; readonly paused: boolean } & Session)
  | { readonly tag: 'closed'; readonly reason: CloseReason };

export type SessionPhase = Extract<ServerPhase, { tag: 'ready' | 'playing' | 'recording' }>;

/** The request that waits for the host, and for what. */
export interface Awaiting {
  readonly id: number;
  readonly request: RtspRequest;
  readonly deadlineMs: number;
  readonly step: AwaitedStep;
}

export type AwaitedStep =
  | { readonly tag: 'authorise'; readonly verb: 'publish' | 'play'; readonly url: RtspUrl; readonly path: string }
  | { readonly tag: 'describe'; readonly url: RtspUrl; readonly path: string }
  | { readonly tag: 'announce'; readonly presentation: Presentation }
  | { readonly tag: 'open-track'; readonly open: OpenTrack; readonly profile: string; readonly mode: boolean }
  | { readonly tag: 'start-play' }
  | { readonly tag: 'start-record' };

export interface IssuedNonce {
  readonly value: string;
  readonly issuedMs: number;
  /** Of this connection, from 1. */
  readonly number: number;
}

export interface ServerState {
  readonly config: ServerConfig;
  readonly phase: ServerPhase;
  readonly awaiting: Awaiting | undefined;
  readonly queue: readonly RtspRequest[];
  readonly lastHeardMs: number;
  readonly refusals: number;
  readonly nonce: IssuedNonce;
  readonly sessionsOpened: number;
  readonly nextEffectId: number;
}

export type CloseReason =
  | { readonly tag: 'disconnected' }
  | { readonly tag: 'session-timeout' }
  | { readonly tag: 'idle' }
  | { readonly tag: 'malformed'; readonly code: ProtocolErrorCode }
  | { readonly tag: 'too-many-refusals' }
  | { readonly tag: 'too-many-requests' }
  | { readonly tag: 'host-timeout' }
  | { readonly tag: 'stopped'; readonly cause: StopCause };

/** Why the host ends a connection: the stream ended, another publisher took its name, access was revoked, drain. */
export type StopCause = 'stream-ended' | 'replaced' | 'revoked' | 'shutdown';

export type EndSessionReason = { readonly tag: 'teardown' } | CloseReason;

/** What the host tells the machine. */
export type ServerInput =
  | { readonly tag: 'received'; readonly event: RtspEvent }
  /** Answers the effect with this id, once. */
  | { readonly tag: 'answered'; readonly id: number; readonly answer: HostAnswer }
  /** RTP or RTCP of this session came over UDP. */
  | { readonly tag: 'heard' }
  | { readonly tag: 'tick' }
  | { readonly tag: 'stop'; readonly cause: StopCause }
  | { readonly tag: 'disconnected' };

export type Refusal =
  | 'unauthenticated'
  | 'forbidden'
  | 'not-found'
  /** Another publisher has the stream and keeps it. */
  | 'busy'
  | 'unavailable'
  | 'unsupported-media'
  | 'unsupported-transport';

export type HostAnswer =
  /** To authorise, announce and start-record. */
  | { readonly tag: 'accepted' }
  | { readonly tag: 'described'; readonly sessionName: string; readonly tracks: readonly AnnouncedTrack[] }
  /** To open-track; server ports for UDP only. */
  | { readonly tag: 'opened'; readonly serverPorts?: PortPair; readonly ssrc?: number }
  /** To start-play: where each track's timeline begins, when that is known. */
  | { readonly tag: 'play-ready'; readonly origins: readonly TrackOrigin[] }
  /** `challenges`: what 401 offers for this very request, in place of the configured ones. */
  | { readonly tag: 'refused'; readonly refusal: Refusal; readonly challenges?: readonly ServerChallenge[] };

export interface TrackOrigin {
  readonly track: number;
  readonly sequence: number;
  readonly timestamp: number;
}

/** What the host does, in this order. Effects with an id are answered by `answered`. */
export type ServerEffect =
  | { readonly tag: 'send'; readonly response: RtspResponse }
  | {
      readonly tag: 'authorise';
      readonly id: number;
      readonly verb: 'publish' | 'play';
      readonly path: string;
      /** With the query, where a signed URL has its proof. */
      readonly url: RtspUrl;
      readonly method: string;
      /** As in the request line, for Digest. */
      readonly requestUrl: string;
      /** A Digest's nonce is checked already. */
      readonly credentials: Credentials | undefined;
    }
  | { readonly tag: 'describe'; readonly id: number; readonly path: string }
  | { readonly tag: 'announce'; readonly id: number; readonly path: string; readonly tracks: readonly SdpTrack[] }
  | ({
      readonly tag: 'open-track';
      readonly id: number;
      readonly path: string;
      readonly purpose: 'play' | 'record';
    } & OpenTrack)
  | { readonly tag: 'close-track'; readonly track: number }
  | { readonly tag: 'start-record'; readonly id: number; readonly path: string; readonly tracks: readonly OpenTrack[] }
  /** Attach to the stream, and hold the media back until `release-media`. */
  | { readonly tag: 'start-play'; readonly id: number; readonly path: string; readonly tracks: readonly OpenTrack[] }
  | { readonly tag: 'release-media' }
  | { readonly tag: 'pause-play' }
  /** Received interleaved; a view, see InterleavedFrame. */
  | { readonly tag: 'rtp'; readonly track: number; readonly data: Buffer }
  | { readonly tag: 'rtcp'; readonly track: number; readonly data: Buffer }
  /** Let go of everything opened or started for the session, also what is still being opened. */
  | { readonly tag: 'end-session'; readonly reason: EndSessionReason }
  /** Close the socket after what was sent; the last effect of a machine. */
  | { readonly tag: 'close'; readonly reason: CloseReason };

export interface ServerStep {
  readonly state: ServerState;
  readonly effects: readonly ServerEffect[];
}
