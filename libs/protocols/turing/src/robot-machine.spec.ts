import { describe, expect, it } from 'vitest';
import { CLOSE, nextRobotDeadlineMs, type RobotInput } from './index.js';
import { RobotTranscript, startCommand } from './testing/transcript.js';

const ack = (id: string, err: unknown = { ec: 0, dm: 'ok' }) => ({ id, act: 'robot.start_stream!', err, ret: {} });
const COMMAND = (id: string) => `S robot.start_stream ${JSON.stringify(id)}`;

describe('a command', () => {
  it('is sent and acknowledged', () => {
    const robot = new RobotTranscript().commands();
    expect(JSON.parse(robot.sent[0] ?? '')).toEqual({ id: 'c1', ...startCommand, ebd: { ref: 'c1' } });
    expect(robot.says(ack('c1')).takes()).toEqual([COMMAND('c1'), 'c1 ok']);
  });

  it('is refused with the word of the robot', () => {
    const robot = new RobotTranscript().commands().says(ack('c1', { dm: 'ffmpeg_failed' }));
    expect(robot.takes()).toEqual([COMMAND('c1'), 'c1 106 ffmpeg_failed']);
  });

  it('that the robot does not answer times out, and a later acknowledgement is ignored', () => {
    const robot = new RobotTranscript().commands().waits(14_999);
    expect(robot.takes()).toEqual([COMMAND('c1')]);
    expect(robot.waits(1).takes()).toEqual(['c1 106 timeout']);
    expect(robot.says(ack('c1')).takes()).toEqual(['unused late-reply']);
  });

  it('is acknowledged once', () => {
    const robot = new RobotTranscript().commands().says(ack('c1')).says(ack('c1'));
    expect(robot.takes()).toEqual([COMMAND('c1'), 'c1 ok', 'unused late-reply']);
  });

  it('is not mistaken for another one', () => {
    const robot = new RobotTranscript().commands().commands(startCommand, 30_000);
    robot.says(ack('c2', { ec: 1, dm: 'failed' })).says(ack('c1'));
    expect(robot.takes()).toEqual([COMMAND('c1'), COMMAND('c2'), 'c2 106 failed', 'c1 ok']);
  });

  it.each<RobotInput>([
    { tag: 'socket-closed' },
    { tag: 'terminate', code: CLOSE.replaced, reason: 'The robot has connected anew' },
  ])('fails when the robot goes: $type', (input) => {
    const robot = new RobotTranscript().commands().commands();
    robot.takes();
    expect(robot.given(input).takes().slice(0, 2)).toEqual(['c1 400 robot_offline', 'c2 400 robot_offline']);
    expect(robot.commands().takes()).toEqual(['c3 400 robot_offline']);
  });

  it('fails within 7 s when the robot loses power', () => {
    const robot = new RobotTranscript().commands().waits(6_999, { answersPings: false });
    expect(robot.takes()).toEqual([COMMAND('c1')]);
    expect(robot.waits(1, { answersPings: false }).takes()).toEqual(['c1 400 robot_offline', 'close 4408']);
  });

  it('beyond the number that may wait is refused', () => {
    const robot = new RobotTranscript({ maxCommands: 1 }).commands().commands();
    expect(robot.takes()).toEqual([COMMAND('c1'), 'c2 429 limited']);
    expect(robot.says(ack('c1')).commands().takes()).toEqual(['c1 ok', COMMAND('c3')]);
  });
});

describe("a robot's socket", () => {
  it('stays open while pings are answered', () => {
    const robot = new RobotTranscript().waits(600_000);
    expect(robot.takes()).toEqual([]);
    expect(robot.effects.filter(({ tag }) => tag === 'ping')).toHaveLength(240);
  });

  it('answers what the robot asks', () => {
    const robot = new RobotTranscript();
    robot.says({ id: 1, act: 'robot.update_state', arg: {} }).says({ id: 2, act: 'robot.dance' });
    robot.says({ act: 'robot.nav.arrived' });
    expect(robot.takes()).toEqual([
      'S robot.update_state! 1 0 ok',
      'unused notification',
      'S robot.dance! 2 102 invalid_operation',
      'unused unknown-act',
      'unused notification',
    ]);
  });

  it('closes after too many malformed frames and when it is flooded', () => {
    const babbling = new RobotTranscript({ maxMalformed: 3 });
    babbling.says('{').given({ tag: 'binary-frame', byteLength: 9 }).says('[]');
    expect(babbling.takes()).toEqual(['unused malformed', 'unused malformed', 'close 4400']);
    const flooding = new RobotTranscript({ frameBurst: 2, framesPerSecond: 1 });
    flooding.says({ act: 'a' }).says({ act: 'a' }).says({ act: 'a' });
    expect(flooding.takes()).toEqual(['unused notification', 'unused notification', 'close 4429']);
  });

  it.each<RobotInput>([
    { tag: 'frame', text: '{"act":"a"}' },
    { tag: 'binary-frame', byteLength: 1 },
    { tag: 'heard' },
    { tag: 'terminate', code: CLOSE.goingAway, reason: '' },
    { tag: 'socket-closed' },
    { tag: 'tick' },
  ])('does nothing more when it is closed: $type', (input) => {
    const robot = new RobotTranscript().given({ tag: 'socket-closed' });
    expect(robot.given(input).takes()).toEqual([]);
    expect(nextRobotDeadlineMs(robot.state)).toBe(Infinity);
  });
});
