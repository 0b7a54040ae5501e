import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { OptionsError, parseSettings } from './settings.js';

describe('the options', () => {
  it('have defaults for everything but the id and the token', () => {
    const settings = parseSettings(['--id', 'r1', '--token', 't'], {});
    expect(settings).toMatchObject({
      robotId: 'r1',
      url: 'ws://127.0.0.1:8080/channel/robot',
      cameras: ['front', 'back'],
      faults: [],
      width: 640,
      height: 360,
      framesPerSecond: 25,
      audio: 'aac',
      ffmpeg: 'ffmpeg',
    });
    expect(settings.token()).toBe('t');
  });

  it('can come from the environment, but arguments take precedence', () => {
    const env = { WEIR_ROBOT_ID: 'r2', WEIR_ROBOT_TOKEN: 't', WEIR_ROBOT_FRAME_RATE: '10', WEIR_ROBOT_CAMERAS: '' };
    const settings = parseSettings(['--id=r3', '--size', '1280x720', '--faults', 'slow, terse'], env);
    expect(settings).toMatchObject({
      robotId: 'r3',
      framesPerSecond: 10,
      cameras: ['front', 'back'],
      faults: ['slow', 'terse'],
      width: 1280,
      height: 720,
    });
  });

  it.each([
    [['--token', 't'], 'id'],
    [['--id', 'r'], 'token'],
    [['--id', 'r', '--token', 't', '--url', 'http://x/'], 'url'],
    [['--id', 'r', '--token', 't', '--cameras', ','], 'cameras'],
    [['--id', 'r', '--token', 't', '--faults', 'fire'], 'faults'],
    [['--id', 'r', '--token', 't', '--size', '640'], 'size'],
    [['--id', 'r', '--token', 't', '--frame-rate', 'x'], 'frame-rate'],
    [['--id', 'r', '--token', 't', '--colour', 'red'], 'colour'],
    [['front'], 'front'],
  ])('%j are refused because of %s', (args, name) => {
    expect(() => parseSettings(args, {})).toThrow(OptionsError);
    expect(() => parseSettings(args, {})).toThrow(name);
  });
});

describe('a token from a credentials file', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'weir-robot-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  it('is read again each time', () => {
    const file = join(folder, 'credentials.json');
    const { token } = parseSettings(['--id', 'r1', '--credentials', file], {});
    expect(token).toThrow('ENOENT');
    const write = (value: unknown) => writeFileSync(file, JSON.stringify(value));
    write({ user: {}, robots: [7, { id: 'r2', token: 'b' }, { id: 'r1', token: 'a', cameras: ['front'] }] });
    expect(token()).toBe('a');
    write({ robots: [{ id: 'r1', token: 'c' }] });
    expect(token()).toBe('c');
    write({ robots: [] });
    expect(token).toThrow('r1');
  });
});
