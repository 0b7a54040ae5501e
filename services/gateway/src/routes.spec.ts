import { describe, expect, it } from 'vitest';
import { basePath, claimant, routes } from './routes.js';

describe('the route table', () => {
  it('has no path below another, so its order does not matter', () => {
    for (const outer of routes)
      for (const inner of routes)
        if (outer !== inner)
          expect(`${basePath(inner)}/`.startsWith(`${basePath(outer)}/`), `${inner.path} in ${outer.path}`).toBe(false);
  });

  it.each([
    ['/auth', 'auth'],
    ['/auth/', 'auth'],
    ['/auth_v2/x', 'auth'],
    ['/rest-api/stream/find', 'wcs-signalling'],
    ['/rest-api/pull/pull', 'relay-push'],
    ['/channel/robot', 'robot-channel'],
    ['/stream/', 'hls-packager'],
    ['/videos/a/index.m3u8', 'hls-packager'],
    ['/v2/device/channel', 'call-broker'],
    ['/v2/devices/state', 'call-broker'],
    ['/calls/apps', 'call-broker'],
    ['/api/v2/io', 'recording'],
    ['/api/v2/supervisor_io/id', 'recording'],
    ['/api/session', 'recording'],
    ['/api/session/io', 'recording'],
    ['/recordings/a/file', 'recording'],
    ['/%63hannel/app', 'robot-channel'],
  ])('gives %s to %s', (path, service) => {
    expect(claimant(path)?.service).toBe(service);
  });

  it.each(['/', '/websocket', '/authority', '/channels', '/rest-api', '/v20', '/.well-known/jwks.json/x', '/%zz'])(
    'leaves %s unclaimed',
    (path) => {
      expect(claimant(path)).toBeUndefined();
    },
  );
});
