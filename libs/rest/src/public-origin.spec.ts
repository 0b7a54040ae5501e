import { describe, expect, it } from 'vitest';
import { publicOrigin } from './public-origin.js';

const request = (headers: Record<string, string>) => ({ headers, protocol: 'http' as const, host: '10.0.0.7:8080' });

describe('the public origin', () => {
  it('is what the setting says, whatever the request says', () => {
    expect(publicOrigin('https://weir.example', request({ 'x-forwarded-host': 'other.example' }))).toBe(
      'https://weir.example',
    );
  });

  it('is that at which the gateway was asked', () => {
    const headers = { 'x-forwarded-proto': 'https, http', 'x-forwarded-host': 'weir.example' };
    expect(publicOrigin(undefined, request(headers))).toBe('https://weir.example');
  });

  it('is that of the request if nothing was forwarded', () => {
    expect(publicOrigin(undefined, request({}))).toBe('http://10.0.0.7:8080');
  });
});
