import { createServer, type AddressInfo } from 'node:net';
import { expect, it } from 'vitest';
import { freePortRange, freePorts, isFreeTcpPort } from './ports.js';

it('returns different ports on which a server can listen', async () => {
  const ports = await freePorts(20);
  expect(new Set(ports).size).toBe(20);
  for (const port of ports) expect(await isFreeTcpPort(port)).toBe(true);
});

it('returns the first of a range of free ports', async () => {
  const first = await freePortRange(4);
  for (let port = first; port < first + 4; port++) expect(await isFreeTcpPort(port)).toBe(true);
});

it('notices that a port is taken, whichever address it is taken on', async () => {
  for (const host of ['127.0.0.1', '0.0.0.0']) {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, host, resolve));
    expect(await isFreeTcpPort((server.address() as AddressInfo).port)).toBe(false);
    await new Promise((resolve) => server.close(resolve));
  }
});
