import type { z } from 'zod';
import {
  FIRST_GENERATION_DATA,
  firstGenerationEnvelope,
  SESSION_DATA,
  sessionEnvelope,
  type ClientMessage,
  type Refusal,
  type ServerMessage,
} from './messages.js';
import { LENGTHS } from './settings.js';

export type Generation = 'first' | 'second';

export type Decoded =
  | { readonly tag: 'message'; readonly message: ClientMessage }
  /** A message that can't be carried out. */
  | { readonly tag: 'refused'; readonly refusal: Refusal }
  /** Not a message. */
  | { readonly tag: 'malformed'; readonly refusal: Refusal };

const parseJson = (text: string): unknown => {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
};

const malformed = (message: string): Decoded => ({ tag: 'malformed', refusal: { code: 'INVALID', message } });

const problemOf = (error: z.ZodError, within = ''): string => {
  const [issue] = error.issues;
  const path = [within, ...(issue?.path ?? [])].filter((part) => part !== '').join('.');
  return `${path === '' ? 'message' : path}: ${issue?.message ?? 'not valid'}`;
};

/** Reads a text frame of a client. No text throws. */
export const decode = (generation: Generation, text: string): Decoded => {
  if (text.length > LENGTHS.frame) return malformed('The frame is too long');
  const json = parseJson(text);
  const envelope =
    generation === 'first'
      ? firstGenerationEnvelope.transform((value) => ({ ...value, session_id: value.rec_id })).safeParse(json)
      : sessionEnvelope.safeParse(json);
  if (!envelope.success) return malformed(`The frame is not a message: ${problemOf(envelope.error)}`);
  const { type, client_id: clientId, session_id: sessionId, data } = envelope.data;
  const addressed = { clientId, sessionId };
  return generation === 'first' ? decodeFirst(type, data ?? {}, addressed) : decodeSecond(type, data ?? {}, addressed);
};

type Addressed = Pick<ClientMessage, 'clientId' | 'sessionId'>;

const read = <Data>(parsed: z.ZodSafeParseResult<Data>, messageOf: (data: Data) => ClientMessage): Decoded =>
  parsed.success
    ? { tag: 'message', message: messageOf(parsed.data) }
    : { tag: 'refused', refusal: { code: 'INVALID', message: problemOf(parsed.error, 'data') } };

const unknownType = (type: string): Decoded => ({
  tag: 'refused',
  refusal: { code: 'UNKNOWN_TYPE', message: `There is no message of the type ${JSON.stringify(type)}` },
});

const isKnown = <Table extends object>(table: Table, type: PropertyKey): type is keyof Table =>
  Object.hasOwn(table, type);

const decodeFirst = (type: string, data: unknown, addressed: Addressed): Decoded => {
  if (!isKnown(FIRST_GENERATION_DATA, type)) return unknownType(type);
  switch (type) {
    case 'recording_start':
      return read(FIRST_GENERATION_DATA[type].safeParse(data), ({ sdp, upload_url, webhook_url }) => ({
        ...{ ...addressed, tag: 'start-recording-session', offerSdp: sdp.sdp },
        destination: { uploadUrl: upload_url, webhookUrl: webhook_url },
      }));
    case 'sdp_update':
    case 'candidate':
      return decodeNegotiation(type, data, addressed);
    case 'recording_stop':
      return { tag: 'message', message: { ...addressed, tag: 'stop' } };
    default:
      return type satisfies never;
  }
};

const decodeSecond = (type: string, data: unknown, addressed: Addressed): Decoded => {
  if (!isKnown(SESSION_DATA, type)) return unknownType(type);
  switch (type) {
    case 'session_start':
      return read(SESSION_DATA[type].safeParse(data), ({ sdp, webhook_url }) => ({
        ...{ ...addressed, tag: 'start', offerSdp: sdp.sdp, webhookUrl: webhook_url },
      }));
    case 'supervisor_join_session':
      return read(SESSION_DATA[type].safeParse(data), ({ sdp, session_id_to_monitor, webhook_url }) => ({
        ...{ ...addressed, tag: 'join', offerSdp: sdp.sdp },
        ...{ monitoredSessionId: session_id_to_monitor, webhookUrl: webhook_url },
      }));
    case 'sdp_update':
    case 'candidate':
      return decodeNegotiation(type, data, addressed);
    case 'recording_start':
      return read(SESSION_DATA[type].safeParse(data), ({ upload_url, webhook_url }) => ({
        ...{ ...addressed, tag: 'start-recording' },
        destination: { uploadUrl: upload_url, webhookUrl: webhook_url },
      }));
    case 'recording_stop':
      return { tag: 'message', message: { ...addressed, tag: 'stop-recording' } };
    case 'session_stop':
      return { tag: 'message', message: { ...addressed, tag: 'stop' } };
    default:
      return type satisfies never;
  }
};

const decodeNegotiation = (type: 'sdp_update' | 'candidate', data: unknown, addressed: Addressed): Decoded => {
  switch (type) {
    case 'sdp_update':
      return read(SESSION_DATA[type].safeParse(data), ({ sdp }) => ({ ...addressed, tag: 'sdp', sdp }));
    case 'candidate':
      return read(SESSION_DATA[type].safeParse(data), () => ({ ...addressed, tag: 'candidate' }));
    default:
      return type satisfies never;
  }
};

export const encode = (
  generation: Generation,
  { clientId, sessionId }: Addressed,
  { type, data }: ServerMessage,
): string =>
  JSON.stringify({
    type,
    client_id: clientId,
    ...(generation === 'first' ? { rec_id: sessionId } : { session_id: sessionId }),
    data,
  });
