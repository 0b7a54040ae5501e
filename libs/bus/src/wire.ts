import { type DescMessage, type MessageShape, create, fromBinary, toBinary } from '@bufbuild/protobuf';
import type { TextMapGetter, TextMapSetter } from '@opentelemetry/api';
import type { MsgHdrs } from '@nats-io/transport-node';
import { ErrorCode, ErrorCodeSchema, ErrorSchema, WeirError } from '@weir/contracts';

/** How long the caller waits after sending, in whole milliseconds. A duration, so that clocks needn't agree. */
export const DEADLINE_HEADER = 'Weir-Deadline-Ms';
/** Marks a reply whose payload is a weir.v1.Error. */
export const ERROR_HEADER = 'Weir-Error';

export const headerSetter: TextMapSetter<MsgHdrs> = { set: (headers, key, value) => headers.set(key, value) };

export const headerGetter: TextMapGetter<MsgHdrs | undefined> = {
  keys: (headers) => headers?.keys() ?? [],
  get: (headers, key) => (headers?.has(key) ? headers.get(key) : undefined),
};

/** NATS delivers Node's Buffers, but a message's `bytes` fields must be plain Uint8Arrays, as their types say. */
export const decode = <Desc extends DescMessage>(schema: Desc, data: Uint8Array): MessageShape<Desc> =>
  fromBinary(schema, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));

/** The duration in the header; undefined when it is missing or malformed. */
export function deadlineFrom(headers: MsgHdrs | undefined): number | undefined {
  const text = headers?.get(DEADLINE_HEADER) ?? '';
  return /^\d{1,9}$/.test(text) ? Number(text) : undefined;
}

export const INTERNAL_MESSAGE = 'The service failed; see its log';

/** Encodes what a caller may know of an error: a WeirError unchanged; of any other error only that it happened. */
export function encodeError(error: unknown): Uint8Array {
  const told = error instanceof WeirError ? error : new WeirError(ErrorCode.INTERNAL, INTERNAL_MESSAGE);
  return toBinary(
    ErrorSchema,
    create(ErrorSchema, { code: told.code, message: told.message, fields: { ...told.fields } }),
  );
}

/** Decodes an error. An unknown code and a payload that isn't an error become INTERNAL. */
export function decodeError(data: Uint8Array): WeirError {
  try {
    const { code, message, fields } = decode(ErrorSchema, data);
    const known = code !== ErrorCode.UNSPECIFIED && ErrorCodeSchema.value[code] !== undefined;
    return known
      ? new WeirError(code, message, fields)
      : new WeirError(ErrorCode.INTERNAL, message, { ...fields, unknown_code: String(code) });
  } catch (cause) {
    return new WeirError(ErrorCode.INTERNAL, "The reply's error can't be read", {}, { cause });
  }
}

/** `NOT_FOUND` for ErrorCode.NOT_FOUND. */
export const codeName = (code: ErrorCode): string => ErrorCode[code] ?? String(code);
