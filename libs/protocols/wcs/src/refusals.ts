import { CLIENT_MESSAGES, sideOf, type ClientMessageName, type ServerMessage } from './messages.js';
import { eventMessage, failure, statusMessage, stillbornStatus } from './status.js';

/** A refused request, as far as it could be read. */
export interface RefusedRequest {
  readonly message: ClientMessageName;
  readonly mediaSessionId?: string | null;
  readonly name?: string;
  readonly operationId?: string | null;
  readonly callId?: string | null;
}

export const CALLS_NOT_SUPPORTED = 'Calls are not supported';

/**
 * A client that waits for the answer to a request gets the refusal in the form of that answer.
 * @param failedId the stream that `fail` names if there is no such form, or if the request has no id to answer to
 */
export const answerNo = (
  { message, mediaSessionId = null, name, operationId = null, callId = null }: RefusedRequest,
  info: string,
  nowMs: number,
  failedId: string | null = null,
): ServerMessage => {
  const { refusal } = CLIENT_MESSAGES[message];
  switch (refusal) {
    case 'status': {
      const direction = sideOf(message) ?? 'publish';
      return statusMessage(stillbornStatus({ mediaSessionId, name, direction, info, nowMs }));
    }
    case 'availability':
      if (mediaSessionId === null) break;
      return { message: 'availableStream', data: [{ id: mediaSessionId, status: 'false', info }] };
    case 'snapshot-event':
      if (mediaSessionId === null) break;
      return eventMessage({ mediaSessionId, type: 'snapshotFailed', payload: { info } });
    case 'data-status':
      if (operationId === null) break;
      return { message: 'DataStatusEvent', data: [{ operationId, status: 'FAILED', info }] };
    case 'finish':
      if (callId === null) break;
      return { message: 'finish', data: [{ callId, status: 'FAILED', info: CALLS_NOT_SUPPORTED }] };
    case 'fail':
      break;
    default:
      return refusal satisfies never;
  }
  return failure(message, failedId, info);
};
