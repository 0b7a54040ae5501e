import type { Cause, Direction, EndReason, RefusalCode } from './info.js';
import type {
  ConnectionMessage,
  MediaSessionId,
  MessageOfClass,
  NameOfClass,
  ServerMessage,
  StreamStatus,
} from './messages.js';
import type { CloseCode, SessionSettings } from './settings.js';

declare const streamIdBrand: unique symbol;
declare const queryIdBrand: unique symbol;
/** One publication or one playback of one client; unique forever. The media core calls it a session id. */
export type StreamId = string & { readonly [streamIdBrand]: true };
/** One request of a client that gets one answer. */
export type QueryId = string & { readonly [queryIdBrand]: true };

export interface Address {
  readonly address: string;
  readonly port: number;
}

export interface Codecs {
  /** As in SDP's rtpmap; empty if the stream has no such medium. */
  readonly audio: string;
  readonly video: string;
}

/** Limits and pings of the socket, for every state. */
export interface Link {
  readonly tokens: number;
  readonly refilledAtMs: number;
  readonly malformed: number;
  readonly nextPingMs: number;
  readonly unansweredPings: number;
}

export interface Offer {
  readonly sdp: string;
  readonly tcpOnly: boolean;
}

export type StreamPhase =
  /** The decision whether the client may do it is pending. */
  | { readonly tag: 'deciding'; readonly offer: Offer; readonly deadlineMs: number }
  /** Players only: the node that has the stream is being looked up. */
  | { readonly tag: 'finding'; readonly offer: Offer; readonly deadlineMs: number }
  /** The media core has the offer. The node of a publisher is known only from the answer. */
  | {
      readonly tag: 'offering';
      readonly nodeId: string | undefined;
      /** The event may arrive before the answer. */
      readonly connected: boolean;
      readonly deadlineMs: number;
    }
  /** The client has the answer; ICE and DTLS are being established. */
  | { readonly tag: 'connecting'; readonly nodeId: string; readonly codecs: Codecs; readonly deadlineMs: number }
  /** Publishers only: media flow, and PUBLISHING waits for the start of the recording that the client has asked for. */
  | {
      readonly tag: 'starting-recording';
      readonly nodeId: string;
      readonly codecs: Codecs;
      readonly deadlineMs: number;
    }
  | { readonly tag: 'live'; readonly nodeId: string; readonly codecs: Codecs };

export interface StreamRecording {
  readonly id: string;
  /** The stream is being recorded, or will be as soon as possible. */
  readonly active: boolean;
  /** When its file began; undefined until then. */
  readonly startedMs: number | undefined;
  /** Empty until its file has begun. */
  readonly fileName: string;
}

export interface Stream {
  readonly mediaSessionId: MediaSessionId;
  readonly streamId: StreamId;
  readonly direction: Direction;
  /** The name that the client uses. */
  readonly name: string;
  /** The name in the tenant's namespace; a hook may have changed it. */
  readonly streamName: string;
  readonly hasVideo: boolean;
  readonly hasAudio: boolean;
  /** In kbit/s, as in the messages. */
  readonly bitrate: number;
  readonly minBitrate: number;
  readonly maxBitrate: number;
  readonly quality: number;
  readonly width: number;
  readonly height: number;
  readonly createdMs: number;
  readonly audioMuted: boolean;
  readonly videoMuted: boolean;
  /** For people: media that receivers of the stream don't get, each with the reason. */
  readonly notCarried: readonly string[];
  /** The client has asked for a recording. */
  readonly recordWanted: boolean;
  /** Undefined as long as the stream wasn't recorded. */
  readonly recording: StreamRecording | undefined;
  readonly phase: StreamPhase;
}

export type Query =
  | {
      readonly message: 'availableStream' | 'snapshot';
      readonly mediaSessionId: MediaSessionId;
      readonly streamName: string;
      readonly deadlineMs: number;
    }
  | { readonly message: 'sendData'; readonly operationId: string; readonly deadlineMs: number };

/** The addresses of the socket's two ends. */
export interface SocketEnds {
  readonly remote: Address;
  readonly local: Address;
}

interface Common {
  readonly settings: SessionSettings;
  /** Unique forever; all ids that the session creates start with it. */
  readonly key: string;
}

export type SessionState =
  | (Common & { readonly tag: 'new' })
  /** The socket is open, but `connection` hasn't arrived yet. */
  | (Common & {
      readonly tag: 'connecting';
      readonly link: Link;
      readonly ends: SocketEnds;
      readonly deadlineMs: number;
    })
  /** The decision whether the client may connect is pending. */
  | (Common & {
      readonly tag: 'authorising';
      readonly link: Link;
      readonly ends: SocketEnds;
      readonly connection: ConnectionMessage;
      readonly deadlineMs: number;
    })
  | EstablishedState
  | (Common & { readonly tag: 'closed' });

export type EstablishedState = Common & {
  readonly tag: 'established';
  readonly link: Link;
  /** The client is older than 2.0 and doesn't know `notifyStreamEvent`. */
  readonly legacy: boolean;
  readonly streams: ReadonlyMap<MediaSessionId, Stream>;
  readonly queries: ReadonlyMap<QueryId, Query>;
  /** Number for the next StreamId or QueryId. */
  readonly nextNumber: number;
};

export type ConnectionDecision =
  { readonly allowed: true } | { readonly allowed: false; readonly code: CloseCode; readonly info: string };

export type Decision =
  /** `streamName` is the name of the stream in the tenant's namespace, if it isn't the client's name. */
  | { readonly allowed: true; readonly streamName?: string | undefined }
  /** A hook's refusal also fires the SDK's WARN event. */
  | { readonly allowed: false; readonly by: 'access' | 'hook'; readonly cause: Cause };

export type StreamSignal =
  | { readonly tag: 'audio-muted'; readonly muted: boolean }
  | { readonly tag: 'video-muted'; readonly muted: boolean }
  | { readonly tag: 'data'; readonly json: string };

export type MediaEvent =
  | { readonly tag: 'connected' }
  | { readonly tag: 'ended'; readonly reason: EndReason }
  | { readonly tag: 'video-size'; readonly width: number; readonly height: number }
  | {
      readonly tag: 'stats';
      readonly videoBps: number;
      readonly videoFps: number;
      readonly nackCount: number;
      readonly pliCount: number;
      readonly lostPackets: number;
      readonly width: number;
      readonly height: number;
    }
  | { readonly tag: 'signal'; readonly signal: StreamSignal }
  | { readonly tag: 'not-enough-bandwidth'; readonly neededBps: number; readonly availableBps: number };

export interface FoundStream {
  readonly nodeId: string;
  /** Media are flowing. */
  readonly ready: boolean;
}

export type Input =
  | { readonly tag: 'opened'; readonly remote: Address; readonly local: Address }
  | { readonly tag: 'frame'; readonly text: string }
  | { readonly tag: 'binary-frame'; readonly byteLength: number }
  | { readonly tag: 'socket-closed' }
  | { readonly tag: 'tick' }
  // Results of effects.
  | { readonly tag: 'connection-decided'; readonly decision: ConnectionDecision }
  | { readonly tag: 'decided'; readonly ref: StreamId | QueryId; readonly decision: Decision }
  | { readonly tag: 'found'; readonly ref: StreamId | QueryId; readonly stream: FoundStream | undefined }
  | {
      readonly tag: 'answered';
      readonly streamId: StreamId;
      readonly nodeId: string;
      readonly sdp: string;
      readonly codecs: Codecs;
      readonly notCarried: readonly string[];
      /** What a player must know about the stream that it joins. */
      readonly stream?: {
        readonly audioMuted: boolean;
        readonly videoMuted: boolean;
        readonly width: number;
        readonly height: number;
      };
    }
  | { readonly tag: 'snapshot-taken'; readonly queryId: QueryId; readonly pngBase64: string }
  | {
      readonly tag: 'refused';
      readonly ref: StreamId | QueryId;
      readonly code: RefusalCode;
      /** For logs: the media core's text for the refusal. */
      readonly detail?: string;
    }
  // Inputs from other sources.
  | { readonly tag: 'media'; readonly streamId: StreamId; readonly event: MediaEvent }
  /** Also for a recording that somebody else has started or stopped. */
  | { readonly tag: 'recording-changed'; readonly streamId: StreamId; readonly recording: StreamRecording }
  | { readonly tag: 'recording-refused'; readonly streamId: StreamId }
  | { readonly tag: 'terminate-stream'; readonly streamId: StreamId; readonly cause: Cause }
  | { readonly tag: 'terminate'; readonly code: CloseCode; readonly info: string };

export type AuthorisedMessage = MessageOfClass<'offer' | 'query'>;

/** Names as the client uses them. */
export interface RefusedStream {
  readonly mediaSessionId: MediaSessionId;
  readonly name: string;
  readonly direction: Direction;
}

export type Effect =
  | { readonly tag: 'send'; readonly message: ServerMessage }
  | { readonly tag: 'close'; readonly code: CloseCode; readonly reason: string }
  | { readonly tag: 'authorise-connection'; readonly connection: ConnectionMessage }
  | { readonly tag: 'authorise'; readonly ref: StreamId | QueryId; readonly message: AuthorisedMessage }
  | { readonly tag: 'find'; readonly ref: StreamId | QueryId; readonly streamName: string }
  | ({ readonly tag: 'publish'; readonly streamId: StreamId; readonly streamName: string } & MediaOffer)
  | ({
      readonly tag: 'play';
      readonly streamId: StreamId;
      readonly nodeId: string;
      readonly streamName: string;
    } & MediaOffer)
  | {
      readonly tag: 'close-session';
      readonly streamId: StreamId;
      readonly nodeId: string;
      readonly reason: 'client' | 'disconnected' | 'terminated' | 'ice-timeout';
    }
  | {
      readonly tag: 'signal';
      readonly streamId: StreamId;
      readonly nodeId: string;
      readonly streamName: string;
      readonly signal: StreamSignal;
    }
  | {
      readonly tag: 'record';
      readonly streamId: StreamId;
      readonly streamName: string;
      readonly mediaSessionId: MediaSessionId;
    }
  | { readonly tag: 'snapshot'; readonly queryId: QueryId; readonly nodeId: string; readonly streamName: string }
  // Facts for hooks, metrics and logs, which the machine doesn't wait for.
  | { readonly tag: 'established' }
  | { readonly tag: 'stopping'; readonly method: NameOfClass<'stop'>; readonly stream: Stream }
  | { readonly tag: 'status-changed'; readonly status: StreamStatus }
  /** Once when a recording of the stream begins, and once when it or the stream ends. */
  | { readonly tag: 'recording-told'; readonly stream: Stream; readonly recording: StreamRecording }
  | { readonly tag: 'joined'; readonly direction: Direction; readonly elapsedMs: number }
  | {
      readonly tag: 'refusal';
      readonly what: 'frame' | 'stream' | 'session';
      readonly reason: string;
      readonly stream?: RefusedStream;
    };

export interface MediaOffer {
  readonly offerSdp: string;
  readonly tcpOnly: boolean;
  /** 0 means unset. */
  readonly minBps: number;
  readonly maxBps: number;
}

export type OfferMessage = MessageOfClass<'offer'>;

export interface Step {
  readonly state: SessionState;
  readonly effects: readonly Effect[];
}
