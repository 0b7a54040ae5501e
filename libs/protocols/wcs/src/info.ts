import type { StreamStatusName } from './messages.js';

export type Direction = 'publish' | 'play';

/** Why the media core ended a session; the same values as the control plane's `EndReason`. */
export type EndReason =
  | 'client'
  | 'disconnected'
  | 'owner-lost'
  | 'terminated'
  | 'ice-timeout'
  | 'ice-lost'
  | 'dtls-failed'
  | 'no-media'
  | 'stream-ended'
  | 'node-lost'
  | 'node-shutdown'
  | 'replaced'
  | 'unknown';

/** Why the control plane refused a call; the same values as its `ErrorCode`. */
export type RefusalCode =
  | 'invalid'
  | 'unauthenticated'
  | 'forbidden'
  | 'not-found'
  | 'already-exists'
  | 'no-common-codecs'
  | 'exhausted'
  | 'unavailable'
  | 'deadline'
  | 'internal';

/** What this protocol itself refuses. */
export type Problem =
  | 'media-session-id-missing'
  | 'media-session-id-in-use'
  | 'name-missing'
  | 'name-not-valid'
  | 'sdp-not-valid'
  | 'custom-not-valid'
  | 'field-not-valid'
  | 'too-many-streams'
  | 'too-many-requests'
  | 'session-missing'
  | 'session-not-ready'
  | 'publisher-not-ready'
  | 'rtmp-not-supported';

/** Why something has ended or never began. */
export type Cause =
  | { readonly tag: 'ended'; readonly reason: EndReason }
  | { readonly tag: 'refused'; readonly code: RefusalCode }
  | { readonly tag: 'problem'; readonly problem: Problem }
  | { readonly tag: 'media-provider'; readonly name: string }
  /** The text of the service that decides about access. */
  | { readonly tag: 'denied'; readonly info: string };

export const problem = (name: Problem): Cause => ({ tag: 'problem', problem: name });
export const ended = (reason: EndReason): Cause => ({ tag: 'ended', reason });
export const refusal = (code: RefusalCode): Cause => ({ tag: 'refused', code });

/** The `info` text of a cause. Applications compare these strings, so they equal the original server's exactly. */
export const infoOf = (cause: Cause, direction: Direction): string => {
  switch (cause.tag) {
    case 'ended':
      return infoOfEnd(cause.reason, direction);
    case 'refused':
      return infoOfRefusal(cause.code, direction);
    case 'problem':
      return infoOfProblem(cause.problem);
    case 'media-provider':
      return `Media provider ${cause.name} is not supported`;
    case 'denied':
      return cause.info;
    default:
      return cause satisfies never;
  }
};

/**
 * Only an end that the client itself asked for is UNPUBLISHED or STOPPED, because applications restart only after
 * FAILED.
 */
export const terminalStatus = (cause: Cause, direction: Direction): StreamStatusName => {
  const byClient = cause.tag === 'ended' && (cause.reason === 'client' || cause.reason === 'disconnected');
  if (!byClient) return 'FAILED';
  return direction === 'publish' ? 'UNPUBLISHED' : 'STOPPED';
};

const infoOfEnd = (reason: EndReason, direction: Direction): string => {
  switch (reason) {
    case 'client':
      return direction === 'publish' ? 'Stopped by publisher stop' : 'Stopped by user';
    case 'disconnected':
    case 'owner-lost':
      return 'Stopped by session disconnect';
    case 'terminated':
      return 'Stopped by rest /terminate';
    case 'ice-timeout':
      return 'Failed by ICE timeout';
    case 'ice-lost':
      return 'Failed by ICE keep alive';
    case 'dtls-failed':
      return 'Failed by DTLS error';
    case 'no-media':
      return 'Failed by RTP activity';
    case 'stream-ended':
      return 'Stopped by publisher stop';
    case 'node-lost':
      return 'Stream failed';
    case 'node-shutdown':
      return 'Agent servicing origin stream is shutting down';
    case 'replaced':
      return 'Stream name is already in use';
    case 'unknown':
      return 'Failed by error';
    default:
      return reason satisfies never;
  }
};

const infoOfRefusal = (code: RefusalCode, direction: Direction): string => {
  switch (code) {
    case 'unauthenticated':
    case 'forbidden':
      return 'Restricted access';
    case 'not-found':
      return 'Stream not found';
    case 'already-exists':
      return 'Stream name is already in use';
    case 'no-common-codecs':
      return 'No common codecs';
    case 'exhausted':
      return 'Failed to add stream to proxy';
    case 'unavailable':
    case 'deadline':
      return direction === 'publish' ? 'Failed to add stream to proxy' : 'Failed to connect to origin stream';
    case 'invalid':
    case 'internal':
      return 'Failed by error';
    default:
      return code satisfies never;
  }
};

const infoOfProblem = (name: Problem): string => {
  switch (name) {
    case 'media-session-id-missing':
      return 'MediaSessionId is null';
    case 'media-session-id-in-use':
      return 'MediaSessionId is already in use';
    case 'name-missing':
      return 'Stream name is null';
    case 'name-not-valid':
      return 'Stream name is not valid';
    case 'sdp-not-valid':
      return 'SDP is not valid';
    case 'custom-not-valid':
      return 'Custom is not valid';
    case 'field-not-valid':
      return 'Message is not valid';
    case 'too-many-streams':
      return 'Too many streams';
    case 'too-many-requests':
      return 'Too many requests';
    case 'session-missing':
      return 'Session does not exist';
    case 'session-not-ready':
      return 'Session not ready';
    case 'publisher-not-ready':
      return 'Publish stream is not ready';
    case 'rtmp-not-supported':
      return 'Failed by RTMP writer error';
    default:
      return name satisfies never;
  }
};
