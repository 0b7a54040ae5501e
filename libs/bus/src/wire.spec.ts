import { create, toBinary } from '@bufbuild/protobuf';
import { headers } from '@nats-io/transport-node';
import { ErrorCode, ErrorSchema, WeirError } from '@weir/contracts';
import { describe, expect, it } from 'vitest';
import { DEADLINE_HEADER, INTERNAL_MESSAGE, deadlineFrom, decodeError, encodeError } from './wire.js';

describe('an error on the wire', () => {
  it('is decoded as it was encoded', () => {
    const error = new WeirError(
      ErrorCode.NOT_FOUND,
      'no such stream',
      { stream: 'a/b' },
      { cause: new Error('secret') },
    );
    const read = decodeError(encodeError(error));
    expect(read).toMatchObject({ code: ErrorCode.NOT_FOUND, message: 'no such stream', fields: { stream: 'a/b' } });
    expect(read.cause).toBeUndefined();
  });

  it('contains no details of an error that is not a WeirError', () => {
    for (const error of [new Error('password=x'), 'password=x', undefined, null, { code: ErrorCode.INVALID }]) {
      expect(decodeError(encodeError(error))).toMatchObject({ code: ErrorCode.INTERNAL, message: INTERNAL_MESSAGE });
    }
  });

  it('is INTERNAL when its code is missing or unknown, or when it is not an error at all', () => {
    const later = Number('77');
    const read = decodeError(toBinary(ErrorSchema, create(ErrorSchema, { code: later, message: 'm' })));
    expect(read).toMatchObject({ code: ErrorCode.INTERNAL, message: 'm', fields: { unknown_code: '77' } });
    expect(decodeError(new Uint8Array())).toMatchObject({ code: ErrorCode.INTERNAL });
    expect(decodeError(Uint8Array.of(0xff, 0xff, 0xff))).toMatchObject({ code: ErrorCode.INTERNAL });
  });
});

describe('a deadline on the wire', () => {
  it.each([
    ['250', 250],
    ['0', 0],
    ['', undefined],
    ['-5', undefined],
    ['1e3', undefined],
    ['99999999999', undefined],
  ])('reads %j as %s', (text, expected) => {
    const carried = headers();
    carried.set(DEADLINE_HEADER, text);
    expect(deadlineFrom(carried)).toBe(expected);
    expect(deadlineFrom(undefined)).toBeUndefined();
  });
});
