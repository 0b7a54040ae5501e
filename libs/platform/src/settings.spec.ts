import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import {
  countSetting,
  describeSettings,
  flagSetting,
  listSetting,
  millisecondsSetting,
  parseSettings,
  portSetting,
  SettingsError,
} from './settings.js';

const shape = {
  A_PORT: portSetting(8080).describe('Where it listens.'),
  A_FLAG: flagSetting(),
  A_LIST: listSetting(['a', 'b']),
  A_TIME_MS: millisecondsSetting(500, 100),
  A_COUNT: countSetting(3, 1),
  A_NAME: z.string().optional(),
};

describe('settings', () => {
  it('has a default for each variable that is unset or empty', () => {
    expect(parseSettings(shape, { A_PORT: '' })).toEqual({
      A_PORT: 8080,
      A_FLAG: false,
      A_LIST: ['a', 'b'],
      A_TIME_MS: 500,
      A_COUNT: 3,
      A_NAME: undefined,
    });
  });

  it('reads the variables that are set', () => {
    const env = { A_PORT: '1', A_FLAG: 'yes', A_LIST: ' x , y,', A_TIME_MS: '100', A_COUNT: '9', A_NAME: 'n' };
    expect(parseSettings(shape, env)).toEqual({
      A_PORT: 1,
      A_FLAG: true,
      A_LIST: ['x', 'y'],
      A_TIME_MS: 100,
      A_COUNT: 9,
      A_NAME: 'n',
    });
  });

  it('names every wrong variable in one error', () => {
    const read = () => parseSettings(shape, { A_PORT: '70000', A_FLAG: 'perhaps', A_TIME_MS: '5', A_COUNT: '1.5' });
    expect(read).toThrow(SettingsError);
    for (const name of ['A_PORT', 'A_FLAG', 'A_TIME_MS', 'A_COUNT']) expect(read).toThrow(name);
  });

  it('names a required variable that is not set', () => {
    expect(() => parseSettings({ NEEDED: z.string() }, {})).toThrow('NEEDED: is not set');
  });

  it('describes itself for the documentation', () => {
    expect(describeSettings(shape).slice(0, 3)).toEqual([
      { name: 'A_PORT', description: 'Where it listens.', defaultText: '8080' },
      { name: 'A_FLAG', description: '', defaultText: '0' },
      { name: 'A_LIST', description: '', defaultText: 'a,b' },
    ]);
  });
});
