import type { Buffer } from 'node:buffer';
import type { AnnouncedTrack, SdpTrack } from '@weir/sdp';
import type { Challenge } from './authentication.js';
import type { RtspHeaders } from './headers.js';
import type { RtspEvent, RtspMethod, RtspRequest, RtspResponse } from './messages.js';
import type { ProtocolErrorCode } from './protocol-error.js';
import type { PortPair } from './transport-header.js';
import type { RtspUrl, UrlUser } from './url.js';

export interface ClientConfig {
  /** May contain user and password, which are only sent as the answer to a challenge. */
  readonly url: RtspUrl;
  readonly intent: ClientIntent;
  /** Lower transports in order of preference. */
  readonly lowers: readonly ('tcp' | 'udp')[];
  readonly userAgent: string;
  /** Random, at least 64 bits in hexadecimal. */
  readonly cnonce: string;
  readonly connectTimeoutMs: number;
  /** Time limit for each answer of the server and of the host. */
  readonly answerTimeoutMs: number;
  /** Time limit for the first media after PLAY. */
  readonly firstMediaTimeoutMs: number;
  /** Time limit between media while playing. */
  readonly mediaTimeoutMs: number;
  readonly maxRedirects: number;
}

export type ClientIntent =
  | { readonly tag: 'pull' }
  | { readonly tag: 'push'; readonly sessionName: string; readonly tracks: readonly AnnouncedTrack[] };

export const DEFAULT_CLIENT_CONFIG: Omit<ClientConfig, 'url' | 'cnonce'> = {
  intent: { tag: 'pull' },
  lowers: ['tcp', 'udp'],
  userAgent: 'weir',
  connectTimeoutMs: 10_000,
  answerTimeoutMs: 10_000,
  firstMediaTimeoutMs: 10_000,
  mediaTimeoutMs: 10_000,
  maxRedirects: 5,
};

/** A request in flight, with everything needed to send it again. */
export interface SentRequest {
  readonly method: RtspMethod;
  readonly url: string;
  readonly headers: RtspHeaders;
  readonly body: Buffer;
  readonly cseq: number;
  /** How many times it was sent again after 401. */
  readonly retries: number;
}

/** A track to set up: its index in the description and the URL from its control attribute. */
export interface TrackTarget {
  readonly track: number;
  readonly url: string;
}

export type ClientTrackTransport =
  | { readonly tag: 'tcp'; readonly channels: PortPair }
  | {
      readonly tag: 'udp';
      readonly localPorts: PortPair;
      /** Media come from and go to the host of the RTSP connection. These are its ports, if it named them. */
      readonly serverPorts: PortPair | undefined;
    };

export interface ClientTrack extends TrackTarget {
  readonly transport: ClientTrackTransport;
}

/** The result of the description and the set-up. */
export interface ClientSession {
  /** The URL for PLAY, RECORD, TEARDOWN and keep-alives. */
  readonly aggregateUrl: string;
  readonly tracks: readonly ClientTrack[];
  readonly id: string | undefined;
  readonly timeoutMs: number;
}

export type ClientPhase =
  | { readonly tag: 'connecting' }
  | { readonly tag: 'asking-options'; readonly request: SentRequest }
  | { readonly tag: 'describing'; readonly request: SentRequest }
  | { readonly tag: 'selecting'; readonly aggregateUrl: string; readonly targets: readonly TrackTarget[] }
  | { readonly tag: 'announcing'; readonly request: SentRequest }
  | ({ readonly tag: 'opening-ports' } & SettingUp)
  | ({ readonly tag: 'setting-up'; readonly request: SentRequest; readonly ports: PortPair | undefined } & SettingUp)
  | { readonly tag: 'starting'; readonly request: SentRequest; readonly session: ClientSession }
  | {
      readonly tag: 'running';
      readonly session: ClientSession;
      readonly startedMs: number;
      readonly lastMediaMs: number | undefined;
      readonly keepAliveAtMs: number;
      readonly keepAliveMethod: 'GET_PARAMETER' | 'OPTIONS';
      readonly keepAlive: SentRequest | undefined;
    }
  | { readonly tag: 'ended'; readonly reason: ClientEndReason };

export type Running = Extract<ClientPhase, { tag: 'running' }>;

export interface SettingUp {
  readonly session: ClientSession;
  /** The tracks that aren't yet set up; the first one is in progress. */
  readonly targets: readonly [TrackTarget, ...TrackTarget[]];
}

export interface ClientState {
  readonly config: ClientConfig;
  /** The current URL, after redirects; without user. */
  readonly url: RtspUrl;
  readonly user: UrlUser | undefined;
  readonly phase: ClientPhase;
  /** Deadline for what the phase waits for; the running phase has its own. */
  readonly deadlineMs: number;
  readonly nextCseq: number;
  readonly methods: ReadonlySet<string>;
  readonly challenge: Challenge | undefined;
  readonly nonceCount: number;
  readonly redirects: number;
  /** Index in `lowers`. */
  readonly lower: number;
}

export type ClientEndReason =
  | { readonly tag: 'stopped' }
  /** The outbound guard refused this URL or one it redirected to. */
  | { readonly tag: 'guarded' }
  | { readonly tag: 'unreachable' }
  /** The server's certificate isn't trusted. */
  | { readonly tag: 'untrusted' }
  /** There is no password for the server, or it is wrong. */
  | { readonly tag: 'unauthorised' }
  | { readonly tag: 'refused'; readonly method: string; readonly status: number }
  | { readonly tag: 'no-tracks' }
  | { readonly tag: 'unsupported-transport' }
  | { readonly tag: 'too-many-redirects' }
  | { readonly tag: 'timed-out'; readonly during: ClientPhase['tag'] }
  | { readonly tag: 'media-silent' }
  | { readonly tag: 'malformed'; readonly code: ProtocolErrorCode }
  | { readonly tag: 'closed-by-server' };

export type ClientInput =
  | { readonly tag: 'connected' }
  | { readonly tag: 'connect-failed'; readonly cause: 'guarded' | 'unreachable' | 'untrusted' }
  | { readonly tag: 'received'; readonly event: RtspEvent }
  /** Indexes in the tracks of select-tracks; an empty list ends the machine with `no-tracks`. */
  | { readonly tag: 'selected'; readonly tracks: readonly number[] }
  /** An even RTP port and the next port, both bound; undefined if there are none. */
  | { readonly tag: 'ports-opened'; readonly ports: PortPair | undefined }
  /** RTP or RTCP arrived over UDP. */
  | { readonly tag: 'heard' }
  | { readonly tag: 'tick' }
  | { readonly tag: 'stop' }
  | { readonly tag: 'disconnected' };

export type ClientEffect =
  /**
   * Pass the URL through the outbound guard, then connect; answer with `connected` or `connect-failed`. This is also
   * requested after a redirect and for another transport. Input from an earlier connection must no longer be passed in.
   */
  | { readonly tag: 'connect'; readonly url: RtspUrl; readonly cause: 'start' | 'redirect' | 'transport' }
  /** Send what is pending, then close the connection and every port. */
  | { readonly tag: 'disconnect' }
  | { readonly tag: 'send'; readonly message: RtspRequest | RtspResponse }
  | { readonly tag: 'select-tracks'; readonly tracks: readonly SdpTrack[] }
  | { readonly tag: 'open-ports'; readonly track: number }
  | {
      readonly tag: 'track-ready';
      readonly track: number;
      readonly transport: ClientTrackTransport;
      readonly ssrc: number | undefined;
    }
  /** PLAY or RECORD was accepted. */
  | { readonly tag: 'started'; readonly origins: readonly ClientTrackOrigin[] }
  | { readonly tag: 'rtp'; readonly track: number; readonly data: Buffer }
  | { readonly tag: 'rtcp'; readonly track: number; readonly data: Buffer }
  /** Close everything; this is a machine's last effect. */
  | { readonly tag: 'end'; readonly reason: ClientEndReason };

/** What RTP-Info says about a track. Some cameras send wrong values. */
export interface ClientTrackOrigin {
  readonly track: number;
  readonly sequence: number | undefined;
  readonly timestamp: number | undefined;
}

export interface ClientStep {
  readonly state: ClientState;
  readonly effects: readonly ClientEffect[];
}
