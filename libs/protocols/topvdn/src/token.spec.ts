import { createHmac } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import {
  controlWord,
  DEVICE_CONTROL,
  makeToken,
  MAX_TOKEN_LIFETIME_S,
  parseToken,
  verifyToken,
  type ParsedToken,
} from './index.js';

/** Published by the vendor with this key. */
const VECTOR = '10000_3222274048_1475031947_f124654ced4d5b30dad739caac64f424';
const VECTOR_KEY = 'd57559a82027b7d846318a0c1596d645';
const KEY = '0123456789abcdef0123456789abcdef';
const NOW_MS = Date.UTC(2026, 10, 30, 12);
const SOON_S = NOW_MS / 1000 + 60;

const read = (text: string): ParsedToken => {
  const reading = parseToken(text);
  if (reading.tag === 'refused') throw new Error(`refused: ${reading.reason}`);
  return reading.token;
};
const token = (fields: Partial<Parameters<typeof makeToken>[0]> = {}) =>
  makeToken({ cid: 1003469, control: DEVICE_CONTROL, expireS: SOON_S, ...fields }, KEY);

describe("the vendor's published token", () => {
  it('is made from its fields', () => {
    expect(makeToken({ cid: 10000, control: 3222274048, expireS: 1475031947 }, VECTOR_KEY)).toBe(VECTOR);
  });

  it('is valid until the second in which it expires', () => {
    const published = read(VECTOR);
    expect(published).toMatchObject({ cid: 10000, control: 3222274048, expireS: 1475031947 });
    expect(verifyToken(published, VECTOR_KEY, 1475031946_999)).toEqual({ tag: 'valid' });
    expect(verifyToken(published, VECTOR_KEY, 1475031947_000)).toEqual({ tag: 'refused', reason: 'expired' });
  });

  it('is refused with another key', () => {
    expect(verifyToken(read(VECTOR), KEY, 0)).toEqual({ tag: 'refused', reason: 'wrong-digest' });
  });
});

describe('a token', () => {
  it('is refused when one of its fields was changed', () => {
    const [cid, control, expire, digest] = token().split('_');
    for (const changed of [
      `${Number(cid) + 1}_${control}_${expire}_${digest}`,
      `${cid}_3222536192_${expire}_${digest}`,
      `${cid}_${control}_${Number(expire) + 1}_${digest}`,
      `${cid}_${control}_${expire}_${'0'.repeat(32)}`,
    ])
      expect(verifyToken(read(changed), KEY, NOW_MS)).toEqual({ tag: 'refused', reason: 'wrong-digest' });
  });

  it('may not live longer than weir allows, whatever its digest', () => {
    const longest = NOW_MS / 1000 + MAX_TOKEN_LIFETIME_S;
    expect(verifyToken(read(token({ expireS: longest })), KEY, NOW_MS).tag).toBe('valid');
    const tooLong = { tag: 'refused', reason: 'lives-too-long' };
    expect(verifyToken(read(token({ expireS: longest + 1 })), KEY, NOW_MS)).toEqual(tooLong);
    expect(verifyToken(read(token({ expireS: 0xffffffff })), KEY, NOW_MS)).toEqual(tooLong);
    expect(verifyToken(read(token()), KEY, NOW_MS, { maxLifetimeS: 59 })).toEqual(tooLong);
  });

  it('that is bound to an address is valid from there only', () => {
    const control = controlWord({ rtmpLive: true, checkIp: true });
    const bound = read(token({ control, ip: 0x0a000203 }));
    const from = (clientIp?: string) => verifyToken(bound, KEY, NOW_MS, { clientIp });
    expect(from('10.0.2.3')).toEqual({ tag: 'valid' });
    expect(from('::ffff:10.0.2.3')).toEqual({ tag: 'valid' });
    for (const other of ['10.0.2.4', '3.2.0.10', '010.0.2.3.4', '::1', '', undefined])
      expect(from(other), String(other)).toEqual({ tag: 'refused', reason: 'bound' });
  });

  it.each([
    ['a web page', { control: controlWord({ checkRefer: true }), refer: 'www.example.com' }],
    ['an object', { control: controlWord({ checkObjectId: true }), objectId: 7 }],
    ['a recording', { vodTimeS: 1 }],
  ])('that is bound to %s is read, and refused for everything else', (_to, fields) => {
    const bound = read(token(fields));
    expect(bound).toMatchObject(fields);
    expect(verifyToken(bound, KEY, NOW_MS)).toEqual({ tag: 'refused', reason: 'bound' });
  });

  it('has its optional fields in the order of the text, in the digest too', () => {
    const control = controlWord({ checkIp: true, checkRefer: true, checkObjectId: true });
    const text = token({ control, vodTimeS: 1, ip: 2, refer: 'a.example', objectId: 3 });
    const number = (value: number) => {
      const bytes = Buffer.alloc(4);
      bytes.writeUInt32LE(value);
      return bytes;
    };
    const numbers = [1003469, control, SOON_S, 1, 2].map(number);
    const digest = createHmac('md5', KEY)
      .update(Buffer.concat([...numbers, Buffer.from('a.example'), number(3)]))
      .digest('hex');
    expect(text).toBe(`1003469_${control}_${SOON_S}_1_2_a.example_3_${digest}`);
    expect(read(text)).toMatchObject({ vodTimeS: 1, ip: 2, refer: 'a.example', objectId: 3 });
  });

  it.each([
    ['without the address that its control word demands', { control: controlWord({ checkIp: true }) }],
    ['with an address that its control word ignores, beside a recording', { ip: 1, vodTimeS: 1 }],
    ['with a cid of more than 32 bits', { cid: 2 ** 32 }],
    ['with a negative expiry', { expireS: -1 }],
    ['with a fraction', { cid: 1.5 }],
    ['with a host name that has the separator', { control: controlWord({ checkRefer: true }), refer: 'a_b' }],
  ])("isn't made %s", (_how, fields) => {
    expect(() => token(fields)).toThrow(RangeError);
  });

  const digest = 'f124654ced4d5b30dad739caac64f424';
  it.each([
    '',
    '_',
    '___',
    digest,
    `10000_${digest}`,
    `10000_3222274048_${digest}`,
    `10000_3222274048_1475031947_`,
    `10000_3222274048_1475031947_${digest.toUpperCase()}`,
    `10000_3222274048_1475031947_${digest}0`,
    `10000_3222274048_1475031947_1_2_${digest}`,
    `010000_3222274048_1475031947_${digest}`,
    ` 10000_3222274048_1475031947_${digest}`,
    `+10000_3222274048_1475031947_${digest}`,
    `-1_3222274048_1475031947_${digest}`,
    `1e4_3222274048_1475031947_${digest}`,
    `0x2710_3222274048_1475031947_${digest}`,
    `4294967296_3222274048_1475031947_${digest}`,
    `10000_3222274048_14750319470_${digest}`,
    `10000_3222274049_1475031947_${digest}`,
    `10000_3222274048_1475031947_${digest}\n`,
    `10000_3222274048_1475031947_${'9'.repeat(1_000)}_${digest}`,
    `１0000_3222274048_1475031947_${digest}`,
  ])('is not %j', (text) => {
    expect(parseToken(text)).toEqual({ tag: 'refused', reason: 'malformed' });
  });
});
