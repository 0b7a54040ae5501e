import { describe, expect, it } from 'vitest';
import { callRights, controlOf, controlWord, DEVICE_CONTROL, type Control } from './index.js';

const NOTHING = controlOf(0);
const allowed = (control: Control | undefined): string[] =>
  Object.entries(control ?? {})
    .filter(([, value]) => value === true)
    .map(([name]) => name);
const rightsOf = (word: number) => {
  const control = controlOf(word);
  if (control === undefined) throw new Error('not a control word');
  return callRights(control);
};

describe("the vendor's control words", () => {
  it.each([
    [3222274048, '7-days', ['rtmpLive', 'hlsLive']],
    [3222536192, '7-days', ['rtmpLive', 'hlsLive', 'recordEvents']],
    [3356753920, '7-days', ['acceptUdp', 'rtmpLive', 'hlsLive', 'recordEvents']],
    [
      0x0800ff00,
      'none',
      [
        ...['acceptUdp', 'watchPublic', 'watchPrivate', 'timeShift', 'watchRecordings'],
        ...['voiceBack', 'videoBack', 'snapshot', 'audio'],
      ],
    ],
    [0, 'none', []],
  ])('%d is read with the most significant bit first', (word, retention, names) => {
    const control = controlOf(word);
    expect(control?.retention).toBe(retention);
    expect(allowed(control).sort()).toEqual([...names].sort());
  });
});

describe('a control word', () => {
  it('is what it was made from, for every right and every retention', () => {
    for (const name of Object.keys(NOTHING ?? {}))
      if (name !== 'retention') expect(allowed(controlOf(controlWord({ [name]: true })))).toEqual([name]);
    for (const retention of ['none', '7-days', '30-days', '90-days', 'forever'] as const)
      expect(controlOf(controlWord({ retention, audio: true }))).toEqual({ ...NOTHING, retention, audio: true });
  });

  it.each([
    ['a reserved bit of byte 1', 0x02000000],
    ['the other reserved bit of byte 1', 0x01000000],
    ['byte 4', 0x00000001],
    ['a reserved retention', 0x00400000],
    ['both kinds of recording', 0x001c0000],
    ['more than 32 bits', 2 ** 32],
    ['a sign', -1],
    ['a fraction', 0.5],
  ])('with %s is refused', (_what, word) => {
    expect(controlOf(word)).toBeUndefined();
  });

  it('is not made with both kinds of recording', () => {
    expect(() => controlWord({ recordLoop: true, recordEvents: true })).toThrow('not both');
  });
});

describe('in a call', () => {
  const everything = { see: true, hear: true, speak: true, show: true };
  const nothing = { see: false, hear: false, speak: false, show: false };

  it.each([
    ["the vendor's example of a call, which has no playback bit", 3222536192, everything],
    ["a device's own token of weir", DEVICE_CONTROL, everything],
    ['a word without any right', 0, nothing],
    ['a recording right alone', controlWord({ retention: '7-days', recordLoop: true }), nothing],
    ["a viewer's", controlWord({ watchPrivate: true }), { see: true, hear: true, speak: false, show: false }],
    ['a viewer who may speak', controlWord({ watchPublic: true, voiceBack: true }), { ...everything, show: false }],
    ["a listener's", controlWord({ audio: true }), { ...nothing, hear: true }],
    ['pictures alone', controlWord({ rtmpLive: true, snapshot: true }), nothing],
  ])('%s allows what it names', (_whose, word, rights) => {
    expect(rightsOf(word)).toEqual(rights);
  });
});
