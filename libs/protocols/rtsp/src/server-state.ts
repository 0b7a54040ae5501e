import type { Buffer } from 'node:buffer';
import type { AnnouncedTrack, SdpTrack } from '@weir/sdp';
import type { Credentials } from './authentication.js';
import type { RtspEvent, RtspRequest, RtspResponse } from './messages.js';
import type { ProtocolErrorCode } from './protocol-error.js';
import type { PortPair } from './transport-header.js';
import type { RtspUrl } from './url.js';

export interface ServerConfig {
  /** Random for each connection: at least 64 bits, letters and digits. Session ids are made of it and a counter. */
  readonly sessionId: string;
  /** Random for each connection: at least 64 bits, letters and digits. Digest nonces start with it. */
  readonly nonce: string;
  /**
   * How long a Digest nonce is valid. After that, the client gets a new challenge with another nonce and `stale=true`.
   */
  readonly nonceLifeMs: number;
  readonly realm: string;
  /**
   * The challenges of a 401, in this order, unless the host names others. Many clients read only the last Digest
   * challenge.
   */
  readonly challenges: readonly ServerChallenge[];
  /** Lower transports that SETUP may choose. */
  readonly lowers: readonly ('tcp' | 'udp')[];
  /** How long a session lives without a request, RTCP or a publisher's media. The client is told whole seconds. */
  readonly sessionTimeoutMs: number;
  /** How long a connection without a session lives without a request. */
  readonly idleTimeoutMs: number;
  /** How long the host may take to answer an effect. */
  readonly hostTimeoutMs: number;
  /** How many requests may wait while the host answers one. */
  readonly maxQueuedRequests: number;
  /** Size limit of their bodies together. */
  readonly maxQueuedBytes: number;
  /** How many 401 and 403 answers are sent before the connection is closed. */
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

/** The stream that a connection plays or publishes. */
export type Presentation =
  | { readonly purpose: 'play'; readonly url: RtspUrl; readonly path: string; readonly tracks: readonly PlayTrack[] }
  | { readonly purpose: 'record'; readonly url: RtspUrl; readonly path: string; readonly tracks: readonly SdpTrack[] };

export type PlayTrack = AnnouncedTrack & { readonly control: string };

/** How one track is transported. UDP goes only to the address at the other end of the RTSP connection. */
export type TrackTransport =
  { readonly tag: 'tcp'; readonly channels: PortPair } | { readonly tag: 'udp'; readonly clientPorts: PortPair };

export interface OpenTrack {
  /** Index in the tracks of the presentation. */
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

/** The request that waits for the host, and the step that it waits for. */
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
  /** Number within this connection, from 1. */
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

/** Why the host ends a connection. `replaced` means that another publisher took the stream's name. */
export type StopCause = 'stream-ended' | 'replaced' | 'revoked' | 'shutdown';

export type EndSessionReason = { readonly tag: 'teardown' } | CloseReason;

/** What the host tells the machine. */
export type ServerInput =
  | { readonly tag: 'received'; readonly event: RtspEvent }
  /** Answers the effect with this id; only once. */
  | { readonly tag: 'answered'; readonly id: number; readonly answer: HostAnswer }
  /** RTP or RTCP of this session arrived over UDP. */
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
  /** Answers authorise, announce and start-record. */
  | { readonly tag: 'accepted' }
  | { readonly tag: 'described'; readonly sessionName: string; readonly tracks: readonly AnnouncedTrack[] }
  /** Answers open-track; the server ports are for UDP only. */
  | { readonly tag: 'opened'; readonly serverPorts?: PortPair; readonly ssrc?: number }
  /** Answers start-play with the start of each track's timeline, if it is known. */
  | { readonly tag: 'play-ready'; readonly origins: readonly TrackOrigin[] }
  /** `challenges` replaces the configured challenges of the 401 for this request. */
  | { readonly tag: 'refused'; readonly refusal: Refusal; readonly challenges?: readonly ServerChallenge[] };

export interface TrackOrigin {
  readonly track: number;
  readonly sequence: number;
  readonly timestamp: number;
}

/** What the host must do, in this order. It answers effects that have an id with `answered`. */
export type ServerEffect =
  | { readonly tag: 'send'; readonly response: RtspResponse }
  | {
      readonly tag: 'authorise';
      readonly id: number;
      readonly verb: 'publish' | 'play';
      readonly path: string;
      /** Includes the query, which holds the proof of a signed URL. */
      readonly url: RtspUrl;
      readonly method: string;
      /** As it is in the request line; Digest needs it. */
      readonly requestUrl: string;
      /** The nonce of a Digest has already been checked. */
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
  /** Attach to the stream, but hold back its media until `release-media`. */
  | { readonly tag: 'start-play'; readonly id: number; readonly path: string; readonly tracks: readonly OpenTrack[] }
  | { readonly tag: 'release-media' }
  | { readonly tag: 'pause-play' }
  /** RTP that arrived interleaved. It is a view; see InterleavedFrame. */
  | { readonly tag: 'rtp'; readonly track: number; readonly data: Buffer }
  | { readonly tag: 'rtcp'; readonly track: number; readonly data: Buffer }
  /** Release everything that was opened or started for the session, including what is still being opened. */
  | { readonly tag: 'end-session'; readonly reason: EndSessionReason }
  /** Send what is pending, then close the socket; this is a machine's last effect. */
  | { readonly tag: 'close'; readonly reason: CloseReason };

export interface ServerStep {
  readonly state: ServerState;
  readonly effects: readonly ServerEffect[];
}
