import { infoOf, problem, refusal, type Cause } from './info.js';
import type { MessageOfClass } from './messages.js';
import { answerNo } from './refusals.js';
import type { Decision, EstablishedState, FoundStream, Query, QueryId } from './state.js';
import { eventMessage, failure } from './status.js';
import type { Turn } from './turn.js';

const fail = (query: Query, cause: Cause, turn: Turn): void =>
  turn.send(answerNo(query, infoOf(cause, 'play'), turn.nowMs));

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

export const ask = (state: EstablishedState, message: MessageOfClass<'query'>, turn: Turn): EstablishedState => {
  if (state.queries.size >= state.settings.maxQueries) {
    turn.send(answerNo(message, infoOf(problem('too-many-requests'), 'play'), turn.nowMs));
    turn.refuse('frame', 'too many requests');
    return state;
  }
  const queryId = queryIdOf(state);
  const deadlineMs = turn.nowMs + state.settings.decisionDeadlineMs;
  turn.do({ tag: 'authorise', ref: queryId, message });
  const query: Query =
    message.message === 'sendData'
      ? { message: message.message, operationId: message.operationId, deadlineMs }
      : {
          message: message.message,
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
    if (decision.by === 'hook') turn.send(failure(query.message, null, infoOf(decision.cause, 'play')));
    return remove(state, queryId);
  }
  if (query.message === 'sendData') {
    turn.send({ message: 'DataStatusEvent', data: [{ operationId: query.operationId, status: 'ACCEPTED' }] });
    return remove(state, queryId);
  }
  const streamName = decision.streamName ?? query.streamName;
  turn.do({ tag: 'find', ref: queryId, streamName });
  return replace(state, queryId, {
    ...query,
    streamName,
    deadlineMs: turn.nowMs + state.settings.queryDeadlineMs,
  });
};

export const found = (
  state: EstablishedState,
  queryId: QueryId,
  where: FoundStream | undefined,
  turn: Turn,
): EstablishedState => {
  const query = state.queries.get(queryId);
  if (query === undefined || query.message === 'sendData') return state;
  const cause = where === undefined ? refusal('not-found') : where.ready ? undefined : problem('publisher-not-ready');
  if (where === undefined || cause !== undefined) {
    fail(query, cause ?? refusal('not-found'), turn);
    return remove(state, queryId);
  }
  if (query.message === 'snapshot') {
    turn.do({ tag: 'snapshot', queryId, nodeId: where.nodeId, streamName: query.streamName });
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
  if (query?.message !== 'snapshot') return state;
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
