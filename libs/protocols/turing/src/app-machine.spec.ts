import { describe, expect, it } from 'vitest';
import { CLOSE, errOf, nextAppDeadlineMs, type AppInput } from './index.js';
import { AppTranscript } from './testing/transcript.js';

const START = 'ask robot.start_stream {"robot_id":"r1","camera":"front"}';

describe("an app's request", () => {
  it('is asked about and answered', () => {
    const app = new AppTranscript().starts();
    expect(app.takes()).toEqual([START]);
    expect(app.answers().takes()).toEqual(['S robot.start_stream! "abc" 0 ok']);
    expect(app.state).toMatchObject({ requests: { size: 0 } });
  });

  it('is answered out of turn, each by its own id', () => {
    const app = new AppTranscript().starts(1);
    const first = app.ref;
    app.starts(1).takes();
    const second = app.ref;
    expect(second).not.toBe(first);
    app.says({ id: 2, act: 'robot.list' }).answers({ ok: true, ret: { robots: [] } });
    app.answers({ ok: false, err: errOf('robot-offline') }, second).answers(undefined, first);
    expect(app.takes()).toEqual([
      'ask robot.list {}',
      'S robot.list! 2 0 ok',
      'S robot.start_stream! 1 400 robot_offline',
      'S robot.start_stream! 1 0 ok',
    ]);
  });

  it('is answered once, even if the host answers twice', () => {
    const app = new AppTranscript().starts().answers().answers();
    expect(app.takes()).toEqual([START, 'S robot.start_stream! "abc" 0 ok']);
  });

  it('is answered with a time-out when nobody else answers, and not again', () => {
    const app = new AppTranscript().starts().given({ tag: 'heard' }).waits(19_999);
    expect(app.takes()).toEqual([START]);
    expect(app.waits(1).takes()).toEqual(['S robot.start_stream! "abc" 106 timeout', 'ping']);
    expect(app.answers().takes()).toEqual([]);
  });

  it('that is refused is not passed on', () => {
    const app = new AppTranscript();
    app.says({ id: 1, act: 'robot.fly' }).says({ id: 2, act: 'robot.start_stream', arg: { robot_id: 'r1' } });
    expect(app.takes()).toEqual(['S robot.fly! 1 102 invalid_operation', 'S robot.start_stream! 2 103 invalid_arg']);
  });

  it('beyond the number that may wait is refused, and one more is taken after an answer', () => {
    const app = new AppTranscript({ maxRequests: 2 }).starts(1).starts(2).starts(3);
    expect(app.takes()).toEqual([START, START, 'S robot.start_stream! 3 429 limited']);
    expect(app.answers().starts(4).takes()).toEqual(['S robot.start_stream! 2 0 ok', START]);
  });

  it('is answered before the socket closes because of the token', () => {
    const app = new AppTranscript().starts().given({ tag: 'credential-ended' });
    expect(app.takes()).toEqual([START, 'S robot.start_stream! "abc" 104 not_logged_in', 'close 4401']);
    expect(app.answers().starts().takes()).toEqual([]);
  });

  it('is answered before the instance goes down', () => {
    const app = new AppTranscript().starts();
    app.given({ tag: 'terminate', code: CLOSE.goingAway, reason: 'The server is going down' });
    expect(app.takes()).toEqual([START, 'S robot.start_stream! "abc" 503 connection_error', 'close 1001']);
  });

  it('dies with its socket', () => {
    const app = new AppTranscript().starts().given({ tag: 'socket-closed' }).answers().waits(60_000);
    expect(app.takes()).toEqual([START]);
    expect(nextAppDeadlineMs(app.state)).toBe(Infinity);
  });
});

describe("an app's socket", () => {
  it('carries events, before and after requests', () => {
    const app = new AppTranscript();
    app.given({ tag: 'event', event: { act: 'robot.state', arg: { robot_id: 'r1', status: 'online' } } });
    expect(app.takes()).toEqual(['S robot.state']);
  });

  it('complains about frames that are no requests, and closes after too many', () => {
    const app = new AppTranscript({ maxMalformed: 3 });
    app.says('{').given({ tag: 'binary-frame', byteLength: 3 }).says('x'.repeat(70_000)).starts();
    expect(app.takes()).toEqual(['S ! 103 input', 'S ! 103 input', 'S ! 103 input', 'close 4400']);
  });

  it('closes when it is flooded, and not before', () => {
    const app = new AppTranscript({ frameBurst: 3, framesPerSecond: 1 });
    for (let count = 0; count < 3; count++) app.says({ id: 0, act: 'robot.fly' });
    expect(app.takes()).toHaveLength(3);
    app.waits(1_000).says({ id: 0, act: 'robot.fly' });
    expect(app.takes()).toEqual(['S robot.fly! 0 102 invalid_operation']);
    expect(app.says({ id: 0, act: 'robot.fly' }).takes()).toEqual(['close 4429']);
  });

  it('counts a long frame as many', () => {
    const app = new AppTranscript({ frameBurst: 16 });
    expect(app.says('x'.repeat(16 * 4_096)).takes()).toEqual(['close 4429']);
  });

  it('is pinged, and closes when nothing is heard', () => {
    const app = new AppTranscript().waits(49_999);
    expect(app.takes()).toEqual(['ping', 'ping']);
    expect(app.waits(1).takes()).toEqual(['close 4408']);
    const living = new AppTranscript();
    for (let round = 0; round < 10; round++) living.waits(20_000).given({ tag: 'heard' });
    expect(living.state.tag).toBe('open');
  });

  it.each<AppInput>([
    { tag: 'frame', text: '{"act":"robot.list"}' },
    { tag: 'binary-frame', byteLength: 1 },
    { tag: 'heard' },
    { tag: 'event', event: { act: 'robot.state', arg: { robot_id: 'r', status: 'online' } } },
    { tag: 'credential-ended' },
    { tag: 'terminate', code: CLOSE.goingAway, reason: '' },
    { tag: 'socket-closed' },
    { tag: 'tick' },
  ])('does nothing more when it is closed: $type', (input) => {
    const app = new AppTranscript().given({ tag: 'socket-closed' });
    expect(app.given(input).takes()).toEqual([]);
    expect(app.state).toEqual({ tag: 'closed' });
  });
});
