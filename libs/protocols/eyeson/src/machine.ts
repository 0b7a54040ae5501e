import { charged, fullAllowance, type Allowance } from '@weir/timing';
import { decode, encode, type Generation } from './codec.js';
import type {
  ClientMessage,
  Destination,
  Refusal,
  Sdp,
  ServerCandidate,
  ServerMessage,
  TerminationCause,
} from './messages.js';
import { CLOSE, frameCost, type CloseCode, type SocketSettings } from './settings.js';

/** The holder of a socket, as its token says. */
export interface Holder {
  readonly generation: Generation;
  readonly role: 'client' | 'supervisor';
  readonly clientId: string;
}

interface Open {
  readonly settings: SocketSettings;
  readonly holder: Holder;
  readonly allowance: Allowance;
  readonly heardMs: number;
  readonly nextPingMs: number;
}

interface Waiting extends Open {
  readonly tag: 'waiting';
  readonly deadlineMs: number;
}

interface Starting extends Open {
  readonly tag: 'starting';
  readonly sessionId: string;
  /** The recording that begins as soon as the session is live. */
  readonly destination: Destination | undefined;
  /** What the server offers as soon as the session is live. */
  readonly offerSdp: string | undefined;
  /** What a supervisor is told as soon as the session is live. */
  readonly notCarried: readonly string[];
  readonly deadlineMs: number;
}

/** An offer that waits for its answer. */
type Negotiation =
  | { readonly tag: 'none' }
  | { readonly tag: 'client-offered'; readonly deadlineMs: number }
  | { readonly tag: 'server-offered'; readonly deadlineMs: number };

type Recording =
  | { readonly tag: 'none' }
  /** `stopWanted`: the client has already asked for its end. */
  | { readonly tag: 'starting'; readonly stopWanted: boolean; readonly deadlineMs: number }
  | { readonly tag: 'running'; readonly recordingId: string }
  /** `next`: the destination of the recording that begins after this one. */
  | {
      readonly tag: 'stopping';
      readonly recordingId: string;
      readonly next: Destination | undefined;
      readonly deadlineMs: number;
    };

interface Live extends Open {
  readonly tag: 'live';
  readonly sessionId: string;
  readonly negotiation: Negotiation;
  readonly recording: Recording;
}

export type SessionState = Waiting | Starting | Live | { readonly tag: 'closed' };

export type Input =
  | { readonly tag: 'frame'; readonly text: string }
  | { readonly tag: 'binary-frame'; readonly byteLength: number }
  /** A ping or pong arrived, so the client's WebSocket layer is alive. */
  | { readonly tag: 'heard' }
  /** The session that was to be started is live. */
  | { readonly tag: 'started'; readonly answerSdp: string; readonly candidates: readonly ServerCandidate[] }
  /** The session can't be started; or the client's new offer can't be accepted, and the session goes on as it was. */
  | { readonly tag: 'refused'; readonly refusal: Refusal }
  /** The answer to the client's new offer. */
  | { readonly tag: 'renegotiated'; readonly answerSdp: string }
  /** The server offers other media. */
  | { readonly tag: 'offer'; readonly offerSdp: string }
  /** A supervisor can't get one of the client's media. */
  | { readonly tag: 'not-carried'; readonly reason: string }
  | { readonly tag: 'recording-started'; readonly recordingId: string }
  | { readonly tag: 'recording-refused'; readonly refusal: Refusal }
  /** Nothing more is recorded; the file follows. `reason`: why it ended by itself. */
  | { readonly tag: 'recording-ended'; readonly recordingId: string; readonly reason?: string | undefined }
  /** Something other than the client's messages ends the session. */
  | { readonly tag: 'terminate'; readonly cause: TerminationCause; readonly code?: CloseCode }
  | { readonly tag: 'socket-closed' }
  | { readonly tag: 'tick' };

export type StartMessage = Extract<ClientMessage, { tag: 'start' | 'start-recording-session' | 'join' }>;

export type Effect =
  | { readonly tag: 'send'; readonly text: string }
  | { readonly tag: 'ping' }
  | { readonly tag: 'close'; readonly code: CloseCode; readonly reason: string }
  /** Is answered with `started` or `refused`. */
  | { readonly tag: 'start'; readonly message: StartMessage }
  /** Is answered with `renegotiated` or `refused`. */
  | { readonly tag: 'renegotiate'; readonly offerSdp: string }
  /** The client's answer to the server's `offer`. */
  | { readonly tag: 'answer'; readonly answerSdp: string }
  /** Is answered with `recording-started` or `recording-refused`. */
  | { readonly tag: 'start-recording'; readonly destination: Destination }
  /** Is answered with `recording-ended`. */
  | { readonly tag: 'stop-recording'; readonly recordingId: string }
  /** The session is over, or was never completely started. The host ends its media and recordings. */
  | { readonly tag: 'end'; readonly sessionId: string; readonly cause: TerminationCause }
  /** For logs. */
  | { readonly tag: 'refusal'; readonly refusal: Refusal };

export interface Step {
  readonly state: SessionState;
  readonly effects: readonly Effect[];
}

export const newSession = (settings: SocketSettings, holder: Holder, nowMs: number): SessionState => ({
  tag: 'waiting',
  ...{ settings, holder },
  allowance: fullAllowance(settings, nowMs),
  heardMs: nowMs,
  nextPingMs: nowMs + settings.pingIntervalMs,
  deadlineMs: nowMs + settings.startDeadlineMs,
});

/** When the session needs its next `tick`; Infinity if it needs none. */
export const nextDeadlineMs = (state: SessionState): number => {
  if (state.tag === 'closed') return Infinity;
  return Math.min(state.nextPingMs, state.heardMs + state.settings.silentAfterMs, ownDeadlineMs(state));
};

const ownDeadlineMs = (state: Waiting | Starting | Live): number =>
  state.tag === 'live' ? Math.min(deadlineIn(state.negotiation), deadlineIn(state.recording)) : state.deadlineMs;

const deadlineIn = (part: Negotiation | Recording): number => ('deadlineMs' in part ? part.deadlineMs : Infinity);

/**
 * One socket and the session on it, from the opening of the socket to the end of both. Inputs carry the time of their
 * arrival; effects must be carried out in the given order. No input in any state throws.
 */
export const step = (state: SessionState, input: Input, nowMs: number): Step => {
  if (state.tag === 'closed') return { state, effects: [] };
  switch (input.tag) {
    case 'frame':
      return frame(state, input.text, nowMs);
    case 'binary-frame':
      return paid({ ...state, heardMs: nowMs }, input.byteLength, nowMs, (open) =>
        malformed(open, { code: 'INVALID', message: 'The frame is binary: messages are JSON texts' }),
      );
    case 'heard':
      return { state: { ...state, heardMs: nowMs }, effects: [] };
    case 'started':
      return state.tag === 'starting' ? started(state, input, nowMs) : unchanged(state);
    case 'refused':
      return refused(state, input.refusal, nowMs);
    case 'offer':
      if (state.tag === 'starting') return unchanged({ ...state, offerSdp: input.offerSdp });
      return state.tag === 'live' ? negotiated(state, input, nowMs) : unchanged(state);
    case 'not-carried':
      if (state.tag === 'starting') return unchanged({ ...state, notCarried: [...state.notCarried, input.reason] });
      return state.tag === 'live' ? { state, effects: [notCarried(state, input.reason)] } : unchanged(state);
    case 'renegotiated':
      return state.tag === 'live' ? negotiated(state, input, nowMs) : unchanged(state);
    case 'recording-started':
    case 'recording-refused':
    case 'recording-ended':
      return state.tag === 'live' ? recorded(state, input, nowMs) : unchanged(state);
    case 'terminate':
      return terminated(state, input.cause, input.code);
    case 'socket-closed':
      return { state: CLOSED, effects: state.tag === 'waiting' ? [] : [ending(state, 'CONN_TIMEOUT')] };
    case 'tick':
      return tick(state, nowMs);
    default:
      return input satisfies never;
  }
};

const CLOSED: SessionState = { tag: 'closed' };
const NO_RECORDING: Recording = { tag: 'none' };
const NO_NEGOTIATION: Negotiation = { tag: 'none' };

const openOf = ({ settings, holder, allowance, heardMs, nextPingMs }: Open): Open => ({
  ...{ settings, holder, allowance, heardMs, nextPingMs },
});

const unchanged = (state: SessionState): Step => ({ state, effects: [] });

const said = ({ holder }: Open, sessionId: string, message: ServerMessage): Effect => ({
  tag: 'send',
  text: encode(holder.generation, { clientId: holder.clientId, sessionId }, message),
});

const complaint = (state: Open, sessionId: string, refusal: Refusal): Effect[] => [
  { tag: 'refusal', refusal },
  said(state, sessionId, { type: 'error', data: refusal }),
];

const notCarried = (state: Live, reason: string): Effect =>
  said(state, state.sessionId, { type: 'error', data: { code: 'NOT_CARRIED', message: reason } });

const sessionIdOf = (state: Waiting | Starting | Live): string => (state.tag === 'waiting' ? '' : state.sessionId);

const ending = ({ sessionId }: Starting | Live, cause: TerminationCause): Effect => ({ tag: 'end', sessionId, cause });

/** Tells the client, ends the session if there is one, and closes the socket. */
const terminated = (
  state: Waiting | Starting | Live,
  cause: TerminationCause,
  code: CloseCode = CLOSE.ended,
  before: readonly Effect[] = [],
): Step => {
  const close: Effect = { tag: 'close', code, reason: cause };
  if (state.tag === 'waiting') return { state: CLOSED, effects: [...before, close] };
  return {
    state: CLOSED,
    effects: [...before, ...farewell(state, cause), ending(state, cause), close],
  };
};

/** The first generation has no other message for the end, and its client needs none when it leaves by itself. */
const farewell = (state: Starting | Live, cause: TerminationCause): Effect[] => {
  if (state.holder.generation === 'second')
    return [said(state, state.sessionId, { type: 'session_terminated', data: { termination_cause: cause } })];
  return cause === 'CLIENT_STOP' ? [] : [said(state, state.sessionId, { type: 'recording_stop', data: {} })];
};

const paid = <State extends Waiting | Starting | Live>(
  state: State,
  length: number,
  nowMs: number,
  then: (state: State) => Step,
): Step => {
  const allowance = charged(state.allowance, frameCost(length), state.settings, nowMs);
  return allowance === undefined ? terminated(state, 'CONN_ERROR', CLOSE.flood) : then({ ...state, allowance });
};

const malformed = (state: Waiting | Starting | Live, refusal: Refusal): Step => {
  const count = state.allowance.malformed + 1;
  const effects = complaint(state, sessionIdOf(state), refusal);
  if (count >= state.settings.maxMalformed) return terminated(state, 'CONN_ERROR', CLOSE.protocolError, effects);
  return { state: { ...state, allowance: { ...state.allowance, malformed: count } }, effects };
};

const frame = (state: Waiting | Starting | Live, text: string, nowMs: number): Step =>
  paid({ ...state, heardMs: nowMs }, text.length, nowMs, (open) => {
    const decoded = decode(open.holder.generation, text);
    switch (decoded.tag) {
      case 'malformed':
        return malformed(open, decoded.refusal);
      case 'refused':
        return { state: open, effects: complaint(open, sessionIdOf(open), decoded.refusal) };
      case 'message':
        return received(open, decoded.message, nowMs);
      default:
        return decoded satisfies never;
    }
  });

const answerNo = (state: Waiting | Starting | Live, code: string, message: string, sessionId?: string): Step => ({
  state,
  effects: complaint(state, sessionId ?? sessionIdOf(state), { code, message }),
});

const received = (state: Waiting | Starting | Live, message: ClientMessage, nowMs: number): Step => {
  if (message.clientId !== state.holder.clientId)
    return answerNo(state, 'FORBIDDEN', 'client_id is not the one of the token', message.sessionId);
  if (state.tag !== 'waiting' && message.sessionId !== state.sessionId)
    return answerNo(state, 'INVALID', 'Another session was started on this socket: use its id, or a socket for each');
  switch (message.tag) {
    case 'start':
    case 'start-recording-session':
    case 'join':
      return start(state, message, nowMs);
    case 'candidate':
      // The media core needs no candidates of the client: it learns the address from the client's checks.
      return unchanged(state);
    case 'stop':
      return terminated(state, 'CLIENT_STOP');
    case 'sdp':
      return state.tag === 'live' ? renegotiate(state, message.sdp, nowMs) : tooEarly(state, message);
    case 'start-recording':
      return startRecording(state, message, nowMs);
    case 'stop-recording':
      return stopRecording(state, message, nowMs);
    default:
      return message satisfies never;
  }
};

const tooEarly = (state: Waiting | Starting | Live, { sessionId }: ClientMessage): Step =>
  answerNo(state, 'NOT_STARTED', 'The session has not been started yet', sessionId);

const start = (state: Waiting | Starting | Live, message: StartMessage, nowMs: number): Step => {
  if (state.tag !== 'waiting') return answerNo(state, 'ALREADY_STARTED', 'The session was already started');
  if ((message.tag === 'join') !== (state.holder.role === 'supervisor'))
    return answerNo(
      state,
      'FORBIDDEN',
      state.holder.role === 'supervisor'
        ? 'A supervisor starts with supervisor_join_session'
        : 'A client starts with session_start, on the socket that its session names',
      message.sessionId,
    );
  return {
    state: {
      ...openOf(state),
      tag: 'starting',
      sessionId: message.sessionId,
      destination: message.tag === 'start-recording-session' ? message.destination : undefined,
      offerSdp: undefined,
      notCarried: [],
      deadlineMs: nowMs + state.settings.answerDeadlineMs,
    },
    effects: [{ tag: 'start', message }],
  };
};

const started = (
  state: Starting,
  { answerSdp, candidates }: Extract<Input, { tag: 'started' }>,
  nowMs: number,
): Step => {
  const { destination, sessionId, offerSdp } = state;
  const live: Live = {
    ...{ ...openOf(state), tag: 'live', sessionId },
    ...{ negotiation: NO_NEGOTIATION, recording: NO_RECORDING },
  };
  const effects: Effect[] = [
    said(live, live.sessionId, { type: 'sdp_update', data: { sdp: { type: 'answer', sdp: answerSdp } } }),
    ...candidates.map((candidate) => said(live, live.sessionId, { type: 'candidate', data: { candidate } })),
    ...state.notCarried.map((reason) => notCarried(live, reason)),
  ];
  if (offerSdp !== undefined) {
    const offered = negotiated(live, { tag: 'offer', offerSdp }, nowMs);
    return { state: offered.state, effects: [...effects, ...offered.effects] };
  }
  if (destination === undefined) return { state: live, effects };
  const begun = beginRecording(live, destination, nowMs);
  return { state: begun.state, effects: [...effects, ...begun.effects] };
};

/** A first-generation client can't try again on the same socket. */
const refused = (state: Waiting | Starting | Live, refusal: Refusal, nowMs: number): Step => {
  const effects = complaint(state, sessionIdOf(state), refusal);
  switch (state.tag) {
    case 'waiting':
      return unchanged(state);
    case 'starting': {
      if (state.holder.generation === 'first')
        return {
          state: CLOSED,
          effects: [
            ...effects,
            said(state, state.sessionId, { type: 'recording_stop', data: {} }),
            { tag: 'close', code: CLOSE.ended, reason: refusal.code },
          ],
        };
      return {
        state: { ...openOf(state), tag: 'waiting', deadlineMs: nowMs + state.settings.startDeadlineMs },
        effects,
      };
    }
    case 'live':
      return state.negotiation.tag === 'client-offered'
        ? { state: { ...state, negotiation: NO_NEGOTIATION }, effects }
        : unchanged(state);
    default:
      return state satisfies never;
  }
};

const renegotiate = (state: Live, { type, sdp }: Sdp, nowMs: number): Step => {
  const { negotiation } = state;
  if (type === 'answer')
    return negotiation.tag === 'server-offered'
      ? { state: { ...state, negotiation: NO_NEGOTIATION }, effects: [{ tag: 'answer', answerSdp: sdp }] }
      : answerNo(state, 'INVALID', 'An answer came, but the server has made no offer');
  if (negotiation.tag !== 'none')
    return answerNo(state, 'BUSY', 'An offer is waiting for its answer; offer again after that');
  const deadlineMs = nowMs + state.settings.answerDeadlineMs;
  return {
    state: { ...state, negotiation: { tag: 'client-offered', deadlineMs } },
    effects: [{ tag: 'renegotiate', offerSdp: sdp }],
  };
};

const negotiated = (state: Live, input: Extract<Input, { tag: 'renegotiated' | 'offer' }>, nowMs: number): Step => {
  const { negotiation } = state;
  if (input.tag === 'renegotiated') {
    if (negotiation.tag !== 'client-offered') return unchanged(state);
    const sdp: Sdp = { type: 'answer', sdp: input.answerSdp };
    return {
      state: { ...state, negotiation: NO_NEGOTIATION },
      effects: [said(state, state.sessionId, { type: 'sdp_update', data: { sdp } })],
    };
  }
  // A later offer replaces an earlier one that wasn't answered yet.
  const sdp: Sdp = { type: 'offer', sdp: input.offerSdp };
  const deadlineMs = nowMs + state.settings.answerDeadlineMs;
  return {
    state: { ...state, negotiation: { tag: 'server-offered', deadlineMs } },
    effects: [said(state, state.sessionId, { type: 'sdp_update', data: { sdp } })],
  };
};

const beginRecording = (state: Live, destination: Destination, nowMs: number): Step => ({
  state: {
    ...state,
    recording: { tag: 'starting', stopWanted: false, deadlineMs: nowMs + state.settings.answerDeadlineMs },
  },
  effects: [{ tag: 'start-recording', destination }],
});

const endRecording = (
  state: Live,
  recordingId: string,
  nowMs: number,
  next: Destination | undefined = undefined,
): Step => ({
  state: {
    ...state,
    recording: { tag: 'stopping', recordingId, next, deadlineMs: nowMs + state.settings.answerDeadlineMs },
  },
  effects: [{ tag: 'stop-recording', recordingId }],
});

const recordingState = (state: Live, what: 'started' | 'stopped', recordingId: string, reason?: string): Effect[] =>
  state.holder.generation === 'first'
    ? []
    : [
        said(state, state.sessionId, {
          type: 'recording_state',
          data: { state: what, rec_id: recordingId, ...(reason !== undefined && { reason }) },
        }),
      ];

const startRecording = (
  state: Waiting | Starting | Live,
  message: Extract<ClientMessage, { tag: 'start-recording' }>,
  nowMs: number,
): Step => {
  const { destination } = message;
  if (state.holder.role === 'supervisor') return answerNo(state, 'FORBIDDEN', 'A supervisor records nothing');
  const already = (): Step => answerNo(state, 'ALREADY_RECORDING', 'A recording is running: stop it first');
  switch (state.tag) {
    case 'waiting':
      return tooEarly(state, message);
    case 'starting':
      return state.destination === undefined ? unchanged({ ...state, destination }) : already();
    case 'live':
      break;
    default:
      return state satisfies never;
  }
  const { recording } = state;
  switch (recording.tag) {
    case 'none':
      return beginRecording(state, destination, nowMs);
    case 'starting':
    case 'running':
      return already();
    case 'stopping':
      return recording.next === undefined
        ? unchanged({ ...state, recording: { ...recording, next: destination } })
        : already();
    default:
      return recording satisfies never;
  }
};

const stopRecording = (state: Waiting | Starting | Live, message: ClientMessage, nowMs: number): Step => {
  const notRecording = (now: Waiting | Starting | Live): Step =>
    answerNo(now, 'NOT_RECORDING', 'No recording is running');
  switch (state.tag) {
    case 'waiting':
      return tooEarly(state, message);
    case 'starting':
      return notRecording({ ...state, destination: undefined });
    case 'live':
      break;
    default:
      return state satisfies never;
  }
  const { recording } = state;
  switch (recording.tag) {
    case 'none':
      return notRecording(state);
    case 'starting':
      return unchanged({ ...state, recording: { ...recording, stopWanted: true } });
    case 'running':
      return endRecording(state, recording.recordingId, nowMs);
    case 'stopping':
      return unchanged({ ...state, recording: { ...recording, next: undefined } });
    default:
      return recording satisfies never;
  }
};

type RecordedInput = Extract<Input, { tag: 'recording-started' | 'recording-refused' | 'recording-ended' }>;

const recorded = (state: Live, input: RecordedInput, nowMs: number): Step => {
  const { recording } = state;
  switch (input.tag) {
    case 'recording-started': {
      const { recordingId } = input;
      // It comes after its deadline, so the client doesn't know of it.
      if (recording.tag !== 'starting') return { state, effects: [{ tag: 'stop-recording', recordingId }] };
      const effects = recordingState(state, 'started', recordingId);
      if (!recording.stopWanted) return { state: { ...state, recording: { tag: 'running', recordingId } }, effects };
      const stopping = endRecording(state, recordingId, nowMs);
      return { state: stopping.state, effects: [...effects, ...stopping.effects] };
    }
    case 'recording-refused':
      return recording.tag === 'starting' ? recordingFailed(state, input.refusal) : unchanged(state);
    case 'recording-ended':
      return 'recordingId' in recording && recording.recordingId === input.recordingId
        ? recordingEnded(state, input, nowMs)
        : unchanged(state);
    default:
      return input satisfies never;
  }
};

/** A session of the first generation is nothing but its recording. */
const recordingFailed = (state: Live, refusal: Refusal): Step => {
  const effects = complaint(state, state.sessionId, refusal);
  return state.holder.generation === 'first'
    ? terminated(state, 'CONN_ERROR', CLOSE.ended, effects)
    : { state: { ...state, recording: NO_RECORDING }, effects };
};

const recordingEnded = (
  state: Live,
  { recordingId, reason }: { readonly recordingId: string; readonly reason?: string | undefined },
  nowMs: number,
): Step => {
  if (state.holder.generation === 'first') return terminated(state, 'CONN_ERROR');
  const effects = recordingState(state, 'stopped', recordingId, reason);
  const next = state.recording.tag === 'stopping' ? state.recording.next : undefined;
  const idle: Live = { ...state, recording: NO_RECORDING };
  if (next === undefined) return { state: idle, effects };
  const begun = beginRecording(idle, next, nowMs);
  return { state: begun.state, effects: [...effects, ...begun.effects] };
};

const tick = (state: Waiting | Starting | Live, nowMs: number): Step => {
  if (state.heardMs + state.settings.silentAfterMs <= nowMs) return terminated(state, 'CONN_TIMEOUT');
  switch (state.tag) {
    case 'waiting':
      return state.deadlineMs <= nowMs ? terminated(state, 'CONN_TIMEOUT', CLOSE.timeout) : pinged(state, nowMs);
    case 'starting':
      return state.deadlineMs <= nowMs ? terminated(state, 'CONN_ERROR') : pinged(state, nowMs);
    case 'live': {
      const expired = expire(state, nowMs);
      if (expired.state.tag === 'closed') return expired;
      const { state: after, effects } = pinged(expired.state, nowMs);
      return { state: after, effects: [...expired.effects, ...effects] };
    }
    default:
      return state satisfies never;
  }
};

const pinged = (state: Waiting | Starting | Live, nowMs: number): Step =>
  state.nextPingMs > nowMs
    ? unchanged(state)
    : { state: { ...state, nextPingMs: nowMs + state.settings.pingIntervalMs }, effects: [{ tag: 'ping' }] };

const LATE: Refusal = { code: 'DEADLINE', message: 'The recorder did not answer in time' };

const expire = (state: Live, nowMs: number): Step => {
  const { negotiation, recording } = state;
  const isNegotiationLate = deadlineIn(negotiation) <= nowMs;
  const current: Live = isNegotiationLate ? { ...state, negotiation: NO_NEGOTIATION } : state;
  if (deadlineIn(recording) > nowMs) return unchanged(current);
  return recording.tag === 'stopping'
    ? recordingEnded(current, { recordingId: recording.recordingId, reason: LATE.code }, nowMs)
    : recordingFailed(current, LATE);
};
