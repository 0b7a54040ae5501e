import { infoOf, problem, refusal, type Cause } from './info.js';
import type { ClientMessageOf, ServerMessage } from './messages.js';
import type { Decision, EstablishedState, FoundStream, Query, QueryId } from './state.js';
import { eventMessage, failure } from './status.js';
import type { Turn } from './turn.js';

export type QueryMessage = ClientMessageOf<'availableStream' | 'snapshot' | 'sendData'>;

export const unavailable = (mediaSessionId: string, info: string): ServerMessage => ({
  message: 'availableStream',
  data: [{ id: mediaSessionId, status: 'false', info }],
});

export const snapshotFailed = (mediaSessionId: string, info: string): ServerMessage =>
  eventMessage({ mediaSessionId, type: 'snapshotFailed', payload: { info } });

export const dataRefused = (operationId: string, info: string): ServerMessage => ({
  message: 'DataStatusEvent',
  data: [{ operationId, status: 'FAILED', info }],
});

/** The answer "no" to a request. */
export const refusalOf = (message: QueryMessage, cause: Cause): ServerMessage => {
  const info = infoOf(cause, 'play');
  switch (message.message) {
    case 'availableStream':
      return unavailable(message.mediaSessionId, info);
    case 'snapshot':
      return snapshotFailed(message.mediaSessionId, info);
    case 'sendData':
      return dataRefused(message.operationId, info);
    default:
      return message satisfies never;
  }
};

const fail = (query: Query, cause: Cause, turn: Turn): void => {
  const info = infoOf(cause, 'play');
  switch (query.kind) {
    case 'available':
      return turn.send(unavailable(query.mediaSessionId, info));
    case 'snapshot':
      return turn.send(snapshotFailed(query.mediaSessionId, info));
    case 'data':
      return turn.send(dataRefused(query.operationId, info));
    default:
      return query satisfies never;
  }
};

const remove = (state: EstablishedState, queryId: QueryId): EstablishedState => {
  const queries = new Map(state.queries);
  queries.delete(queryId);
  return { ...state, queries };
};

const replace = (state: EstablishedState, queryId: QueryId, query: Query): EstablishedState => ({
  ...state,
  queries: new Map(state.queries).set(queryId, query),
});

export const queryIdOf = (state: EstablishedState): QueryId => `${state.key}.q${state.nextNumber}` as QueryId;

export const ask = (state: EstablishedState, message: QueryMessage, turn: Turn): EstablishedState => {
  if (state.queries.size >= state.settings.maxQueries) {
    turn.send(refusalOf(message, problem('too-many-requests')));
    turn.refuse('frame', 'too many requests');
    return state;
  }
  const queryId = queryIdOf(state);
  const deadlineMs = turn.nowMs + state.settings.decisionDeadlineMs;
  turn.do({ type: 'authorise', ref: queryId, message });
  const query: Query =
    message.message === 'sendData'
      ? { kind: 'data', operationId: message.operationId, deadlineMs }
      : {
          kind: message.message === 'availableStream' ? 'available' : 'snapshot',
          mediaSessionId: message.mediaSessionId,
          streamName: message.name,
          deadlineMs,
        };
  return replace({ ...state, nextNumber: state.nextNumber + 1 }, queryId, query);
};

export const decided = (
  state: EstablishedState,
  queryId: QueryId,
  decision: Decision,
  turn: Turn,
): EstablishedState => {
  const query = state.queries.get(queryId);
  if (query === undefined) return state;
  if (!decision.allowed) {
    fail(query, decision.cause, turn);
    if (decision.by === 'hook') turn.send(failure(methodOf(query), null, infoOf(decision.cause, 'play')));
    return remove(state, queryId);
  }
  if (query.kind === 'data') {
    turn.send({ message: 'DataStatusEvent', data: [{ operationId: query.operationId, status: 'ACCEPTED' }] });
    return remove(state, queryId);
  }
  const streamName = decision.streamName ?? query.streamName;
  turn.do({ type: 'find', ref: queryId, streamName });
  return replace(state, queryId, {
    ...query,
    streamName,
    deadlineMs: turn.nowMs + state.settings.queryDeadlineMs,
  });
};

const methodOf = (query: Query): string => {
  switch (query.kind) {
    case 'available':
      return 'availableStream';
    case 'snapshot':
      return 'snapshot';
    case 'data':
      return 'sendData';
    default:
      return query satisfies never;
  }
};

export const found = (
  state: EstablishedState,
  queryId: QueryId,
  where: FoundStream | undefined,
  turn: Turn,
): EstablishedState => {
  const query = state.queries.get(queryId);
  if (query === undefined || query.kind === 'data') return state;
  const cause = where === undefined ? refusal('not-found') : where.ready ? undefined : problem('publisher-not-ready');
  if (where === undefined || cause !== undefined) {
    fail(query, cause ?? refusal('not-found'), turn);
    return remove(state, queryId);
  }
  if (query.kind === 'snapshot') {
    turn.do({ type: 'snapshot', queryId, nodeId: where.nodeId, streamName: query.streamName });
    return state;
  }
  turn.send({ message: 'availableStream', data: [{ id: query.mediaSessionId, status: 'true' }] });
  return remove(state, queryId);
};

export const snapshotTaken = (
  state: EstablishedState,
  queryId: QueryId,
  pngBase64: string,
  turn: Turn,
): EstablishedState => {
  const query = state.queries.get(queryId);
  if (query?.kind !== 'snapshot') return state;
  const { mediaSessionId } = query;
  turn.send(
    state.legacy
      ? {
          message: 'notifyStreamStatusEvent',
          data: [{ mediaSessionId, status: 'SNAPSHOT_COMPLETE', info: pngBase64 }],
        }
      : eventMessage({ mediaSessionId, type: 'snapshotCompleted', payload: { snapshot: pngBase64 } }),
  );
  return remove(state, queryId);
};

export const refused = (state: EstablishedState, queryId: QueryId, cause: Cause, turn: Turn): EstablishedState => {
  const query = state.queries.get(queryId);
  if (query === undefined) return state;
  fail(query, cause, turn);
  return remove(state, queryId);
};

export const expire = (state: EstablishedState, turn: Turn): EstablishedState =>
  [...state.queries]
    .filter(([, query]) => query.deadlineMs <= turn.nowMs)
    .reduce((left, [queryId]) => refused(left, queryId, refusal('deadline'), turn), state);
