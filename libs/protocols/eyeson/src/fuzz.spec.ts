import { expect, it } from 'vitest';
import { decode, nextDeadlineMs, step, TERMINATION_CAUSES, type Input } from './index.js';
import { CLIENT, FIRST, SUPERVISOR, Transcript, UPLOAD_URL } from './testing/transcript.js';

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

const frames = [
  { type: 'session_start', data: { sdp: { type: 'offer', sdp: 'v=0' } } },
  { type: 'supervisor_join_session', data: { sdp: { type: 'offer', sdp: 'v=0' }, session_id_to_monitor: 's0' } },
  { type: 'recording_start', data: { sdp: { type: 'offer', sdp: 'v=0' }, upload_url: UPLOAD_URL } },
  { type: 'recording_stop' },
  { type: 'session_stop' },
  { type: 'sdp_update', data: { sdp: { type: 'offer', sdp: 'v=0' } } },
  { type: 'sdp_update', data: { sdp: { type: 'answer', sdp: 'v=0' } } },
  { type: 'candidate', data: { candidate: null } },
  { type: 'nonsense' },
].map((message): Input => {
  const ids = { client_id: 'client-0', session_id: 's1', rec_id: 's1' };
  return { tag: 'frame', text: JSON.stringify({ ...ids, ...message }) };
});

const inputs: readonly Input[] = [
  ...frames,
  { tag: 'frame', text: '{' },
  { tag: 'binary-frame', byteLength: 10 },
  { tag: 'heard' },
  { tag: 'started', answerSdp: 'v=0', candidates: [] },
  { tag: 'refused', refusal: { code: 'X', message: 'x' } },
  { tag: 'renegotiated', answerSdp: 'v=0' },
  { tag: 'offer', offerSdp: 'v=0' },
  { tag: 'recording-started', recordingId: 'r1' },
  { tag: 'recording-refused', refusal: { code: 'X', message: 'x' } },
  { tag: 'recording-ended', recordingId: 'r1' },
  { tag: 'tick' },
];
const ends: readonly Input[] = [
  { tag: 'socket-closed' },
  ...TERMINATION_CAUSES.map((cause): Input => ({ tag: 'terminate', cause })),
];

it.each([CLIENT, FIRST, SUPERVISOR])(
  'every order of inputs ends each started session exactly once, and closes a socket once: %j',
  (holder) => {
    for (let seed = 1; seed <= 60; seed++) {
      const random = randomOf(seed);
      const transcript = new Transcript(holder, { maxMalformed: 3 });
      for (let i = 0; i < 60; i++) {
        transcript.nowMs += Math.floor(random() * 4_000);
        transcript.given(one(random, inputs));
        // A state that needs no tick any more would stay for ever.
        if (transcript.state.tag !== 'closed') expect(nextDeadlineMs(transcript.state)).toBeLessThan(Infinity);
      }
      transcript.given(one(random, ends)).given(one(random, ends));
      const count = (tag: string) => transcript.effects.filter((effect) => effect.tag === tag).length;
      const accepted = transcript.effects.some(
        (effect) => effect.tag === 'send' && effect.text.includes('"sdp_update"'),
      );
      expect(count('close'), `seed ${seed}`).toBeLessThanOrEqual(1);
      expect(count('end'), `seed ${seed}`).toBeLessThanOrEqual(1);
      if (accepted) expect(count('end'), `seed ${seed}`).toBe(1);
      expect(transcript.state).toEqual({ tag: 'closed' });
      for (const input of [...inputs, ...ends]) expect(step(transcript.state, input, 0).effects).toEqual([]);
    }
  },
);

it('no text throws', () => {
  for (let seed = 1; seed <= 500; seed++) {
    const random = randomOf(seed);
    const frame = one(random, frames);
    const text = frame.tag === 'frame' ? frame.text : '';
    const at = Math.floor(random() * text.length);
    const broken = text.slice(0, at) + one(random, ['', '"', '{', '}', 'null', '\0', '\ud800']) + text.slice(at + 1);
    for (const generation of ['first', 'second'] as const) expect(decode(generation, broken)).toHaveProperty('tag');
  }
});
