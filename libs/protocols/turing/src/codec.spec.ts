import { describe, expect, it } from 'vitest';
import {
  decodeRequest,
  decodeRobotFrame,
  encodeCommand,
  encodeEvent,
  encodeReply,
  errOf,
  LENGTHS,
  type ReplyTo,
} from './index.js';
import { startCommand } from './testing/transcript.js';

/** The request from the original document, unchanged. */
const SEED_REQUEST = `{
    "id": "abc",
    "act": "robot.start_stream",
    "arg": {"robot_id": "robot_dog_sr_20002", "camera": "front"}
}`;

const requestOf = (text: string) => {
  const decoded = decodeRequest(text);
  if (decoded.tag !== 'request') throw new Error(`not a request: ${JSON.stringify(decoded)}`);
  return decoded;
};
const to = (change: Partial<ReplyTo> = {}): ReplyTo => ({ id: '"abc"', act: 'robot.list', ebd: undefined, ...change });

describe('a request', () => {
  it('is read as the original document has it', () => {
    expect(requestOf(SEED_REQUEST)).toEqual({
      tag: 'request',
      replyTo: { id: '"abc"', act: 'robot.start_stream', ebd: undefined },
      request: { act: 'robot.start_stream', arg: { robot_id: 'robot_dog_sr_20002', camera: 'front' } },
    });
  });

  it('may lack id and arg, and may have an ext and more', () => {
    expect(requestOf('{"act":"robot.list"}').replyTo).toEqual({ id: 'null', act: 'robot.list', ebd: undefined });
    expect(requestOf('{"act":"robot.list","ext":{"a":1},"more":[]}').request).toEqual({ act: 'robot.list', arg: {} });
  });

  it.each([
    '"abc"',
    '12345678901234567890123',
    '1.0',
    '1e400',
    'null',
    'true',
    '"\\u00e9\\u0000\\""',
    '{"a":[1,{"b":"}]"}],"c":"\\\\"}',
    '[ 1 , 2 ]',
    '""',
  ])('has its id and ebd kept to the letter: %s', (value) => {
    const { replyTo } = requestOf(
      ` { "ebd" : ${value} , "act":"robot.list","arg":{"id":7,"x":["ebd"]},"id":${value} } `,
    );
    expect(replyTo).toEqual({ act: 'robot.list', id: value, ebd: value });
    const reply = encodeReply(replyTo, { ok: true, ret: { robots: [] } });
    expect(reply).toBe(
      `{"id":${value},"act":"robot.list!","err":{"ec":0,"em":"This operation is successful.","dm":"ok"},"ret":{"robots":[]},"ebd":${value}}`,
    );
    expect(() => JSON.parse(reply)).not.toThrow();
  });

  it('takes the last of members with one name, as JSON.parse does', () => {
    expect(requestOf('{"id":1,"act":"robot.list","id":2,"\\u0069d":3}').replyTo.id).toBe('3');
  });

  it.each([
    ['robot.start_stream', {}, 'robot_id'],
    ['robot.start_stream', { robot_id: 'r' }, 'camera'],
    ['robot.start_stream', { robot_id: 7, camera: 'front' }, 'robot_id'],
    ['robot.start_stream', { robot_id: 'r', camera: 'a/b' }, 'camera'],
    ['robot.start_stream', { robot_id: '..', camera: 'front' }, 'robot_id'],
    ['robot.start_stream', { robot_id: '*', camera: 'front' }, 'robot_id'],
    ['robot.start_stream', { robot_id: 'r'.repeat(65), camera: 'front' }, 'robot_id'],
    ['robot.stop_stream', { robot_id: 'r', camera: '' }, 'camera'],
    ['robot.list_cameras', { robot_id: null }, 'robot_id'],
    ['robot.list', [], 'arg'],
    ['robot.list_cameras', 'r', 'arg'],
  ])('%s with %j is refused for its %s', (act, arg, field) => {
    expect(decodeRequest(JSON.stringify({ id: 1, act, arg }))).toEqual({
      tag: 'refused',
      replyTo: { id: '1', act, ebd: undefined },
      err: errOf('invalid-arg', `See ${field}.`),
    });
  });

  it.each(['robot.fly', 'toString', '__proto__', 'robot.start_stream!', 'ROBOT.LIST'])(
    '%s is an unknown act',
    (act) => {
      expect(decodeRequest(JSON.stringify({ id: 1, act, arg: {} }))).toMatchObject({
        tag: 'refused',
        err: { ec: 102, dm: 'invalid_operation' },
      });
    },
  );

  it.each([
    '',
    '{',
    'null',
    '[]',
    '"robot.list"',
    '{}',
    '{"act":7}',
    '{"act":""}',
    `{"act":"${'x'.repeat(65)}"}`,
    `{"act":"robot.list","id":"${'x'.repeat(LENGTHS.id)}"}`,
    `{"act":"robot.list","ebd":"${'x'.repeat(LENGTHS.ebd)}"}`,
    `"${'x'.repeat(LENGTHS.frame)}"`,
    '['.repeat(60_000),
  ])('%.40s is not one', (text) => {
    expect(decodeRequest(text)).toMatchObject({ tag: 'malformed', err: { ec: 103, dm: 'input' } });
  });

  it('nested as deeply as its length allows is read', () => {
    const deep = '['.repeat(8_000) + ']'.repeat(8_000);
    expect(requestOf(`{"act":"robot.list","ebd":${deep}}`).replyTo.ebd).toBe(deep);
  });
});

describe('a reply', () => {
  it('has the fields of the original document in its order', () => {
    const { replyTo } = requestOf(SEED_REQUEST);
    const uri = 'rtsp://stream.tucingcideo.cn';
    expect(
      encodeReply(replyTo, { ok: true, ret: { uri, hls_uri: uri, rtsp_uri: uri, stream: 'robot_dog_sr_20002/front' } }),
    ).toBe(
      '{"id":"abc","act":"robot.start_stream!","err":{"ec":0,"em":"This operation is successful.","dm":"ok"},' +
        `"ret":{"uri":"${uri}","hls_uri":"${uri}","rtsp_uri":"${uri}","stream":"robot_dog_sr_20002/front"}}`,
    );
  });

  it('that refuses has no ret', () => {
    expect(JSON.parse(encodeReply(to(), { ok: false, err: errOf('robot-offline') }))).toEqual({
      id: 'abc',
      act: 'robot.list!',
      err: { ec: 400, em: 'The robot is offline.', dm: 'robot_offline' },
      ret: null,
    });
  });

  it('cannot be broken by an act that was sent', () => {
    const decoded = decodeRequest('{"act":"a\\"},{\\u0000"}');
    if (decoded.tag !== 'refused') throw new Error('not refused');
    expect(JSON.parse(encodeReply(decoded.replyTo, { ok: false, err: decoded.err }))).toMatchObject({
      act: 'a"},{\u0000!',
    });
  });
});

it('an event has neither id nor exclamation mark', () => {
  expect(encodeEvent({ act: 'robot.state', arg: { robot_id: 'r1', status: 'robot_offline' } })).toBe(
    '{"act":"robot.state","arg":{"robot_id":"r1","status":"robot_offline"}}',
  );
});

describe("a robot's frame", () => {
  it('answers a command by its id', () => {
    expect(JSON.parse(encodeCommand('c1', startCommand))).toEqual({ id: 'c1', ...startCommand, ebd: { ref: 'c1' } });
    const reply = { id: 'c1', act: 'robot.start_stream!', err: { ec: 0, em: '', dm: 'ok' }, ret: { base_uri: 'b' } };
    expect(decodeRobotFrame(JSON.stringify(reply))).toEqual({
      tag: 'reply',
      ref: 'c1',
      outcome: { ok: true, ret: { base_uri: 'b' } },
    });
  });

  it('answers by its ebd when it has no id of ours', () => {
    expect(decodeRobotFrame('{"id":5,"act":"x!","err":{"dm":"ok"},"ebd":{"ref":"c1"}}')).toMatchObject({ ref: 'c1' });
    expect(decodeRobotFrame('{"act":"x!","err":{"dm":"ok"}}')).toMatchObject({ ref: undefined });
  });

  it.each([
    [{ ec: 0 }, 'ok'],
    [{ ec: 0, dm: 'ok' }, 'ok'],
    [{ dm: 'ok' }, 'ok'],
    [{ ec: 'zero', dm: 'ok' }, 'ok'],
    [{ dm: 'ffmpeg_failed' }, '106 ffmpeg_failed'],
    [{ ec: 400, dm: 'robot_offline' }, '400 robot_offline'],
    [{ ec: -1 }, '106 cmd_error'],
    [{ ec: 7, dm: 'no_camera' }, '106 no_camera'],
    [{ ec: 7, dm: 'ok' }, '106 cmd_error'],
    [{ ec: 7, dm: 'Not A Word' }, '106 cmd_error'],
    [{ ec: 0.5, dm: 'failed' }, '106 failed'],
    [{}, '106 cmd_error'],
    [undefined, '106 cmd_error'],
    ['ok', '106 cmd_error'],
  ])('with err %j means %s', (err, meaning) => {
    const decoded = decodeRobotFrame(JSON.stringify({ id: 'c1', act: 'x!', err }));
    if (decoded.tag !== 'reply') throw new Error('no reply');
    const { outcome } = decoded;
    expect(outcome.ok ? 'ok' : `${outcome.err.ec} ${outcome.err.dm}`).toBe(meaning);
  });

  it('is cut where a robot says too much', () => {
    const decoded = decodeRobotFrame(JSON.stringify({ id: 'c1', act: 'x!', err: { ec: 1, em: 'e'.repeat(5_000) } }));
    if (decoded.tag !== 'reply' || decoded.outcome.ok) throw new Error('no refusal');
    expect(decoded.outcome.err.em).toHaveLength('The robot reports an error. '.length + 200);
  });

  it('may be a request or a notification of its own', () => {
    expect(decodeRobotFrame('{"id":1,"act":"robot.update_state","arg":{}}')).toMatchObject({ tag: 'request' });
    expect(decodeRobotFrame('{"act":"robot.nav.arrived","arg":{}}')).toEqual({
      tag: 'notification',
      act: 'robot.nav.arrived',
    });
    expect(decodeRobotFrame('hello')).toMatchObject({ tag: 'malformed' });
  });
});
