import { describe, expect, it } from 'vitest';
import { runSeries } from './series-program.js';

describe('an anonymous client does not harm other clients', { timeout: 180_000 }, () => {
  it('with 330 unfinished bodies, which it then aborts', async () => {
    expect(await runSeries('bodies')).toContain('330 unfinished POST bodies from one address');
  });

  it('with 420 blocking reloads, and with answers that it does not read', async () => {
    expect(await runSeries('reloads')).toContain('420 clients from one address');
  });

  it('with unfinished frames on WebSockets', async () => {
    expect(await runSeries('frames')).toContain('WebSockets from one address with unfinished frames');
  });

  it('with RTSP connections that do not read, say nothing or never finish', async () => {
    expect(await runSeries('rtsp')).toContain('300 RTSP connections from one address');
  });
});
