import { z } from 'zod';
import { LENGTHS } from './settings.js';

const clientId = z.string().min(1).max(LENGTHS.clientId);
/** Made by the server, which stores it; a text with other characters is none of its ids. */
const sessionId = z
  .string()
  .max(LENGTHS.sessionId)
  .regex(/^[\x21-\x7e]+$/, 'is no id');
const sdpText = z.string().min(1).max(LENGTHS.sdp);
const offer = z.object({ type: z.literal('offer'), sdp: sdpText });
const url = z.string().max(LENGTHS.url);
/** SDKs send null or an empty text for a URL that the application left out. */
const optionalUrl = url.nullish().transform((text) => (text === null || text === '' ? undefined : text));

/** What browsers call RTCIceCandidateInit. The last one is null in the first generation and has an empty text since. */
const candidate = z
  .looseObject({
    candidate: z.string().max(LENGTHS.candidate).optional(),
    sdpMid: z.string().max(64).nullish(),
    sdpMLineIndex: z.number().int().min(0).max(255).nullish(),
    usernameFragment: z.string().max(256).nullish(),
  })
  .nullish();

/** The clients' messages of the second generation, each with its data. Other members are dropped. */
export const SESSION_DATA = {
  session_start: z.object({ sdp: offer, webhook_url: optionalUrl }),
  supervisor_join_session: z.object({ sdp: offer, session_id_to_monitor: sessionId, webhook_url: optionalUrl }),
  sdp_update: z.object({ sdp: z.object({ type: z.enum(['offer', 'answer']), sdp: sdpText }) }),
  candidate: z.object({ candidate }),
  recording_start: z.object({ upload_url: url.min(1), webhook_url: optionalUrl }),
  recording_stop: z.unknown(),
  session_stop: z.unknown(),
} as const;

/** Those of the first generation: the start of the recording starts the session too. */
export const FIRST_GENERATION_DATA = {
  recording_start: z.object({ sdp: offer, upload_url: url.min(1), webhook_url: optionalUrl }),
  sdp_update: SESSION_DATA.sdp_update,
  candidate: SESSION_DATA.candidate,
  recording_stop: z.unknown(),
} as const;

/** The members beside `data`. Each generation has its own name for the id of the session. */
const anyMessage = z.object({ type: z.string().max(64), client_id: clientId, data: z.unknown().optional() });
export const sessionEnvelope = anyMessage.extend({ session_id: sessionId });
export const firstGenerationEnvelope = anyMessage.extend({ rec_id: sessionId });

interface Addressed {
  readonly clientId: string;
  /** The session's id; in the first generation the id of its only recording. */
  readonly sessionId: string;
}

export interface Sdp {
  readonly type: 'offer' | 'answer';
  readonly sdp: string;
}

export interface Destination {
  readonly uploadUrl: string;
  readonly webhookUrl: string | undefined;
}

/** What a client says, whatever its generation. */
export type ClientMessage = Addressed &
  (
    | { readonly tag: 'start'; readonly offerSdp: string; readonly webhookUrl: string | undefined }
    /** The first generation's start, with which the recording begins. */
    | { readonly tag: 'start-recording-session'; readonly offerSdp: string; readonly destination: Destination }
    | {
        readonly tag: 'join';
        readonly offerSdp: string;
        readonly monitoredSessionId: string;
        readonly webhookUrl: string | undefined;
      }
    | { readonly tag: 'sdp'; readonly sdp: Sdp }
    | { readonly tag: 'candidate' }
    | { readonly tag: 'start-recording'; readonly destination: Destination }
    | { readonly tag: 'stop-recording' }
    | { readonly tag: 'stop' }
  );

/** Why a session ended, as its client and its webhook are told. */
export const TERMINATION_CAUSES = [
  /** The client asked for it. */
  'CLIENT_STOP',
  /** The media broke, or the client broke the protocol. */
  'CONN_ERROR',
  /** The client was no longer heard: its socket or its media. */
  'CONN_TIMEOUT',
  /** The client has started another session, and this one was no longer heard. */
  'SESSION_REPLACED',
  /** The token has expired or was revoked, or the master key with which it was made was removed. */
  'TOKEN_EXPIRED',
  'SERVER_SHUTDOWN',
] as const;
export type TerminationCause = (typeof TERMINATION_CAUSES)[number];

/** A candidate of the server, for the first medium. */
export interface ServerCandidate {
  readonly candidate: string;
  readonly sdpMid: string;
  readonly sdpMLineIndex: number;
}

/** What the server says to the client of a session. */
export type ServerMessage =
  | { readonly type: 'sdp_update'; readonly data: { readonly sdp: Sdp } }
  | { readonly type: 'candidate'; readonly data: { readonly candidate: ServerCandidate } }
  | {
      readonly type: 'recording_state';
      readonly data: { readonly state: 'started' | 'stopped'; readonly rec_id: string; readonly reason?: string };
    }
  /** Only to the first generation: the recording has ended, so the client leaves. */
  | { readonly type: 'recording_stop'; readonly data: Readonly<Record<string, never>> }
  | { readonly type: 'session_terminated'; readonly data: { readonly termination_cause: TerminationCause } }
  | { readonly type: 'error'; readonly data: { readonly code: string; readonly message: string } };

/** Answers what a client may not say or can't have. The code is a word for programs, the message is for people. */
export interface Refusal {
  readonly code: string;
  readonly message: string;
}
