import { describe, expect, it } from 'vitest';
import { localHost, serviceProcess, SERVICES_IN_STOP_ORDER, type ServiceName } from './services.js';
import { parseSingleMachineSettings } from './settings.js';

const environmentOf = (name: ServiceName, env: Record<string, string> = {}, turnSecret?: string) =>
  serviceProcess(name, {
    turnSecret,
    checkout: '/weir',
    dataDir: '/data',
    settings: parseSingleMachineSettings(env),
    env,
    urls: { nats: '', redis: '', database: '' },
    ports: Object.fromEntries(SERVICES_IN_STOP_ORDER.map((each) => [each, 1])) as Record<ServiceName, number>,
  }).env ?? {};

describe('the single machine', () => {
  it('by default serves only itself, and no page of another site', () => {
    expect(environmentOf('gateway')).toMatchObject({
      WEIR_HTTP_HOST: '127.0.0.1',
      WEIR_CORS_ORIGINS: 'local',
      WEIR_ALLOWED_HOSTS: 'local,127.0.0.1',
    });
    expect(environmentOf('media')).toMatchObject({ WEIR_RTSP_HOST: '127.0.0.1', WEIR_MEDIA_HOST: '127.0.0.1' });
  });

  it('opens HTTP and RTSP with one setting, and accepts the names that it announces', () => {
    const env = {
      WEIR_HTTP_HOST: '0.0.0.0',
      WEIR_ANNOUNCED_ADDRESS: '192.0.2.7, cam.example',
      WEIR_PUBLIC_URL: 'https://video.example/x',
      WEIR_CORS_ORIGINS: 'https://app.example',
    };
    expect(environmentOf('gateway', env)).toMatchObject({
      WEIR_HTTP_HOST: '0.0.0.0',
      WEIR_CORS_ORIGINS: 'https://app.example',
      WEIR_ALLOWED_HOSTS: 'local,192.0.2.7,cam.example,video.example',
    });
    const media = environmentOf('media', env);
    expect(media).toMatchObject({ WEIR_RTSP_HOST: '0.0.0.0', WEIR_ANNOUNCED_ADDRESS: '192.0.2.7, cam.example' });
    expect(media).not.toHaveProperty('WEIR_MEDIA_HOST');
    expect(environmentOf('media', { ...env, WEIR_RTSP_HOST: '192.0.2.7' })).toMatchObject({
      WEIR_RTSP_HOST: '192.0.2.7',
    });
  });

  it('names its TURN server to the services, and gives media an address that TURN may reach', () => {
    const env = { WEIR_TURN: '1' };
    expect(environmentOf('auth', env, 'secret')).toMatchObject({
      WEIR_STUN_URLS: 'stun:127.0.0.1:3478',
      WEIR_TURN_URLS: 'turn:127.0.0.1:3478?transport=udp,turn:127.0.0.1:3478?transport=tcp',
      WEIR_TURN_SECRET: 'secret',
    });
    const media = environmentOf('media', env, 'secret');
    expect(media).toMatchObject({ WEIR_ANNOUNCED_ADDRESS: '127.0.0.1,127.0.0.2' });
    expect(media).not.toHaveProperty('WEIR_MEDIA_HOST');
    expect(environmentOf('auth')).not.toHaveProperty('WEIR_TURN_URLS');
  });

  it.each([
    ['127.0.0.1', '127.0.0.1'],
    ['0.0.0.0', '127.0.0.1'],
    ['::', '127.0.0.1'],
    ['::1', '[::1]'],
    ['192.0.2.7', '192.0.2.7'],
  ])('that listens on %s reaches itself at %s', (host, own) => {
    expect(localHost(parseSingleMachineSettings({ WEIR_HTTP_HOST: host }))).toBe(own);
  });
});
