import {
  CLIENT_MESSAGES,
  LENGTHS,
  type ClientMessage,
  type ClientMessageName,
  type ServerMessage,
} from './messages.js';

/** Why a frame isn't a message. Fields that could be read are kept, so that the waiting client gets an answer. */
export type DecodeError =
  | { readonly tag: 'too-long'; readonly length: number }
  | { readonly tag: 'not-json' }
  /** JSON, but not `{"message": string, "data": array}`. */
  | { readonly tag: 'not-a-frame' }
  | { readonly tag: 'unknown-message'; readonly message: string }
  | {
      readonly tag: 'invalid';
      readonly message: ClientMessageName;
      /** The first field that isn't valid, and whether it is missing. */
      readonly field: string;
      readonly missing: boolean;
      readonly mediaSessionId: string | null;
      readonly operationId: string | null;
      readonly callId: string | null;
    };

export type Decoded =
  { readonly ok: true; readonly message: ClientMessage } | { readonly ok: false; readonly error: DecodeError };

const refused = (error: DecodeError): Decoded => ({ ok: false, error });

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const isMessageName = (name: string): name is ClientMessageName => Object.hasOwn(CLIENT_MESSAGES, name);

const idIn = (body: unknown, field: string, maxLength: number): string | null => {
  const value = isRecord(body) ? body[field] : undefined;
  return typeof value === 'string' && value.length > 0 && value.length <= maxLength ? value : null;
};

const parseJson = (text: string): { readonly value: unknown } | undefined => {
  try {
    return { value: JSON.parse(text) };
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
};

/** `data` may be missing, empty or the object itself: old clients send all of these. */
const bodyOf = (data: unknown): unknown => (Array.isArray(data) ? data[0] : data);

const invalid = (message: ClientMessageName, body: unknown, field: string): Decoded => {
  const value = isRecord(body) ? body[field] : undefined;
  return refused({
    tag: 'invalid',
    message,
    field,
    missing: value === undefined || value === null || value === '',
    mediaSessionId: idIn(body, 'mediaSessionId', LENGTHS.mediaSessionId),
    operationId: idIn(body, 'operationId', LENGTHS.operationId),
    callId: idIn(body, 'callId', LENGTHS.mediaSessionId),
  });
};

export const decode = (text: string): Decoded => {
  if (text.length > LENGTHS.frame) return refused({ tag: 'too-long', length: text.length });
  const json = parseJson(text);
  if (json === undefined) return refused({ tag: 'not-json' });
  const frame = json.value;
  if (!isRecord(frame) || typeof frame['message'] !== 'string') return refused({ tag: 'not-a-frame' });
  const name = frame['message'];
  if (!isMessageName(name)) return refused({ tag: 'unknown-message', message: name.slice(0, 64) });
  const body = bodyOf(frame['data']);
  const parsed = CLIENT_MESSAGES[name].schema.safeParse(body);
  return parsed.success
    ? { ok: true, message: parsed.data }
    : invalid(name, body, String(parsed.error.issues[0]?.path[0] ?? 'data'));
};

export const encode = (message: ServerMessage): string => JSON.stringify(message);
