import { expect, it } from 'vitest';
import { errOf, PROBLEM_NAMES, SUCCESS } from './index.js';

it('success is what the original document shows', () => {
  expect(SUCCESS).toEqual({ ec: 0, em: 'This operation is successful.', dm: 'ok' });
});

it('every problem has its number and word', () => {
  expect(Object.fromEntries(PROBLEM_NAMES.map((name) => [name, `${errOf(name).ec} ${errOf(name).dm}`]))).toEqual({
    'unknown-act': '102 invalid_operation',
    'not-a-request': '103 input',
    'too-long': '103 input',
    'invalid-arg': '103 invalid_arg',
    'no-such-camera': '103 invalid_arg',
    'not-logged-in': '104 not_logged_in',
    'not-permitted': '107 permission',
    timeout: '106 timeout',
    'no-media': '106 timeout',
    'ffmpeg-failed': '106 ffmpeg_failed',
    'command-failed': '106 cmd_error',
    'source-failed': '106 connection_error',
    'name-taken': '106 logic_error',
    'stream-failed': '106 failed',
    'not-streaming': '404 no_stream',
    'robot-offline': '400 robot_offline',
    'too-many': '429 limited',
    internal: '500 logic_error',
    unavailable: '503 connection_error',
  });
});

it('no two problems tell people the same', () => {
  expect(new Set(PROBLEM_NAMES.map((name) => errOf(name).em)).size).toBe(PROBLEM_NAMES.length);
});
