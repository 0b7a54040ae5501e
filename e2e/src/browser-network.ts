import { readFileSync } from 'node:fs';
import type { Browser } from 'playwright-core';

/** In the process with this argument Chromium has all its sockets, those of WebRTC too. */
const NETWORK_SERVICE = '--utility-sub-type=network.mojom.NetworkService';

/**
 * Cuts the network of a Chromium: its pages go on, but nothing of them gets out and nothing gets in, and neither end is
 * told.
 * @returns what gives the network back
 */
export async function cutNetwork(browser: Browser): Promise<() => void> {
  const session = await browser.newBrowserCDPSession();
  const { processInfo } = await session.send('SystemInfo.getProcessInfo');
  await session.detach();
  const [pid, ...others] = processInfo
    .map(({ id }) => id)
    .filter((id) => readFileSync(`/proc/${id}/cmdline`, 'utf8').includes(NETWORK_SERVICE));
  if (pid === undefined || others.length > 0) throw new Error('Chromium does not have exactly one network process');
  process.kill(pid, 'SIGSTOP');
  return () => process.kill(pid, 'SIGCONT');
}
