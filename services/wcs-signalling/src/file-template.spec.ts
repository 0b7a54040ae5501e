import { expect, it } from 'vitest';
import { filledTemplate, type BeginningRecording } from './file-template.js';

const recording: BeginningRecording = {
  ...{ streamName: 'door', mediaSessionId: 'm1', sessionId: '/1.2.3.4:5/6', audioCodec: 'opus', videoCodec: null },
  startMs: 1_563_776_083_752,
};

it('fills in what is known when a recording begins, and leaves the rest', () => {
  expect(filledTemplate('{streamName}-{startTime}-{endTime}', recording)).toBe('door-1563776083752-{endTime}');
  expect(filledTemplate('{mediaSessionId}_{sessionId}_{startTimeMillis}', recording)).toBe(
    'm1_LzEuMi4zLjQ6NS82_1563776083752',
  );
  expect(filledTemplate('[{audioCodec}|{videoCodec}|{login}]{toString}{', recording)).toBe('[opus||]{toString}{');
  expect(filledTemplate('{sessionId}', { ...recording, sessionId: null })).toBe('');
});

it('is not longer than a name may be, and fills in only once', () => {
  expect(filledTemplate('{streamName}', { ...recording, streamName: '{login}' })).toBe('{login}');
  expect(filledTemplate('{streamName}', { ...recording, streamName: 'x'.repeat(1_000) })).toHaveLength(256);
});
