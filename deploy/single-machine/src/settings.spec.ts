import { expect, it } from 'vitest';
import { parseSingleMachineSettings } from './settings.js';

it('has a default for every required setting', () => {
  expect(parseSingleMachineSettings({ WEIR_HTTP_PORT: '' })).toEqual({
    WEIR_HTTP_HOST: '127.0.0.1',
    WEIR_HTTP_PORT: 8_080,
    WEIR_HTTPS_PORT: 8_443,
    WEIR_RTSP_PORT: 8_554,
    WEIR_MEDIA_PORT: 40_000,
    WEIR_ANNOUNCED_ADDRESS: '127.0.0.1',
    WEIR_TURN: false,
    WEIR_TURN_PORT: 3_478,
    WEIR_TURN_TLS_PORT: 5_349,
    WEIR_TURN_RELAY_PORTS: [49_152, 49_663],
    WEIR_DEMO_ROBOTS: true,
    WEIR_DATA_DIR: '.weir',
  });
});

it('names all wrong settings at once', () => {
  const wrong = { WEIR_HTTP_PORT: 'eighty', WEIR_MEDIA_PORT: '70000', REDIS_URL: 'here' };
  expect(() => parseSingleMachineSettings(wrong)).toThrow(
    /WEIR_HTTP_PORT=eighty: .*\n.*WEIR_MEDIA_PORT=70000: .*\n.*REDIS_URL=here: /,
  );
});

it('refuses half of a TLS configuration, and a port that is given twice', () => {
  const contradictory = { WEIR_TLS_CERT: 'cert.pem', WEIR_HTTP_PORT: '9000', WEIR_MEDIA_PORT: '9000' };
  expect(() => parseSingleMachineSettings(contradictory)).toThrow(
    /WEIR_TLS_CERT and WEIR_TLS_KEY.*\n.*WEIR_HTTP_PORT and WEIR_MEDIA_PORT: both are 9000/,
  );
});
