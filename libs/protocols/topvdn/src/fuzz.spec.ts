import { expect, it } from 'vitest';
import {
  makeToken,
  formatCallUrl,
  parseCallUrl,
  parseToken,
  readEvent,
  readRequest,
  serverPushBody,
  stateBody,
  trackersOf,
  verifyToken,
} from './index.js';

/** mulberry32, so a run can be repeated with its seed. */
const randomOf = (seed: number) => () => {
  seed = (seed + 0x6d2b79f5) | 0;
  let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed);
  mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
  return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
};

const one = <T>(random: () => number, values: readonly T[]): T => {
  const value = values[Math.floor(random() * values.length)];
  if (value === undefined) throw new RangeError('There is nothing to choose from');
  return value;
};

const KEY = '0123456789abcdef0123456789abcdef';
const SCRAPS = [
  '',
  '_',
  '&',
  '=',
  '?',
  ':',
  '"',
  '{',
  '}',
  '[',
  'null',
  '0',
  '9',
  'f',
  ' ',
  '\0',
  '\r\n',
  '\ud800',
  '%',
  'é',
];

/** One to three places of the text replaced or removed. */
const broken = (random: () => number, text: string): string => {
  let result = text;
  for (let changes = 1 + Math.floor(random() * 3); changes > 0; changes--) {
    const at = Math.floor(random() * result.length);
    result = result.slice(0, at) + one(random, SCRAPS) + result.slice(at + 1);
  }
  return result;
};

const uint32 = (random: () => number) => Math.floor(random() * 2 ** 32);

it('every token that can be made is read, verified and called by its URL', () => {
  for (let seed = 1; seed <= 500; seed++) {
    const random = randomOf(seed);
    const control = (uint32(random) & 0xcc03ff00) >>> 0;
    const hasObject = (control & 0x00010000) !== 0;
    const token = {
      cid: uint32(random),
      control,
      expireS: uint32(random),
      ...(hasObject && { objectId: uint32(random) }),
    };
    const text = makeToken(token, KEY);
    const reading = parseCallUrl(
      formatCallUrl({ host: '10.0.0.1', port: 1 + Math.floor(random() * 65_535), token: text }),
    );
    expect(reading, `seed ${seed}`).toMatchObject({ tag: 'url', token });
    if (reading.tag !== 'url') continue;
    const verdict = verifyToken(reading.token, KEY, (token.expireS - 1) * 1_000);
    expect(verdict, `seed ${seed}`).toEqual(hasObject ? { tag: 'refused', reason: 'bound' } : { tag: 'valid' });
  }
});

it('a token that was changed in any place is never valid', () => {
  const text = makeToken({ cid: 1003469, control: 3222536192, expireS: 1_800_000_000 }, KEY);
  for (let seed = 1; seed <= 3_000; seed++) {
    const changed = broken(randomOf(seed), text);
    if (changed === text) continue;
    const reading = parseToken(changed);
    if (reading.tag === 'token')
      expect(verifyToken(reading.token, KEY, 1_790_000_000_000).tag, `seed ${seed}: ${changed}`).toBe('refused');
  }
});

it('no text throws, whatever reads it', () => {
  const texts = [
    'topvdn://10.0.0.1:80?protocolType=1&token=1003469_3222536192_1493481600_5574318032e39b62063d98e6bff50069',
    '{"type":"open","url":"topvdn://10.0.0.1:80","sdp":{"type":"offer","sdp":"v=0"},"ref":"1"}',
    '{"type":"candidate","call_id":"c1","candidate":{"candidate":"candidate:1","sdpMLineIndex":0}}',
    '{"Name":"PopMessage","Message":"aGVsbG8=","SrcID":0,"name":"PopMessage","message":"aGVsbG8="}',
    '[Tracker]\r\nCount=1\r\nIP1=10.0.0.1\r\nPort1=80',
  ];
  for (let seed = 1; seed <= 2_000; seed++) {
    const random = randomOf(seed);
    const text = broken(random, one(random, texts));
    expect(parseCallUrl(text)).toHaveProperty('tag');
    expect(parseToken(text)).toHaveProperty('tag');
    expect(readRequest(text)).toHaveProperty('tag');
    readEvent(text);
    trackersOf(text);
    stateBody.safeParse(text);
    serverPushBody.safeParse({ proxy: 0, payload: { msg: text, clients: [text] } });
  }
});
