import { describe, expect, it } from 'vitest';
import { iceServers, iceServerSettings, turnCredentials } from './ice-servers.js';
import { parseSettings } from './settings.js';

const AT_MS = Date.UTC(2026, 10, 30, 12);
const settings = (environment: Record<string, string>) => parseSettings(iceServerSettings, environment);

describe('ICE servers', () => {
  it('have credentials that a TURN server with the same secret accepts until they expire', () => {
    // Computed with: printf 1796040000:s1 | openssl dgst -sha1 -hmac north -binary | base64
    expect(turnCredentials('north', 's1', 1_796_040_000_999)).toEqual({
      username: '1796040000:s1',
      credential: 'B7qZS5kMnmCZK1CLL3ZkPGtsc88=',
    });
  });

  it('are the configured ones only', () => {
    expect(iceServers(settings({}), 's', AT_MS)).toEqual([]);
    const configured = settings({
      WEIR_STUN_URLS: 'stun:t.example:3478',
      WEIR_TURN_URLS: 'turn:t.example:3478',
      WEIR_TURN_SECRET: 'north',
      WEIR_TURN_TTL_S: '60',
    });
    expect(iceServers(configured, 's', AT_MS)).toEqual([
      { urls: ['stun:t.example:3478'], username: '', credential: '' },
      { urls: ['turn:t.example:3478'], username: `${AT_MS / 1_000 + 60}:s`, credential: expect.any(String) },
    ]);
  });
});
