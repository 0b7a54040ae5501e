import { expect, it } from 'vitest';
import { projects } from '../setup/build.mjs';
import { robotProcess, serviceProcess, SERVICES_IN_STOP_ORDER } from './services.js';
import { parseSingleMachineSettings } from './settings.js';

const options = {
  ...{ checkout: '/weir', dataDir: '/weir/.weir', settings: parseSingleMachineSettings({}), env: {} },
  urls: { nats: '', redis: '', database: '' },
  ports: {
    ...{ gateway: 1, auth: 2, media: 3, 'wcs-signalling': 4 },
    ...{ 'robot-channel': 5, 'relay-push': 6, 'hls-packager': 7, recording: 8, 'call-broker': 9 },
  },
};

it('compiles every program that the platform runs', () => {
  const programs = [
    ...SERVICES_IN_STOP_ORDER.map((name) => serviceProcess(name, options)),
    robotProcess('robot', options),
  ].map(({ command }) => command.find((part) => part.endsWith('/dist/main.js')));
  expect(projects().map((project) => `/weir/${project}/dist/main.js`)).toEqual(expect.arrayContaining(programs));
});
