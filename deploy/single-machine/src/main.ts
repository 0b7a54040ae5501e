import { constants } from 'node:os';
import { relative } from 'node:path';
import { startPlatform, type Platform } from './platform.js';
import { LOOPBACK, StartError } from './settings.js';

/**
 * A Ctrl-C reaches this process twice, from the terminal and from npm. Only a signal that comes later than this is the
 * user's second Ctrl-C.
 */
const SAME_SIGNAL_MS = 1_000;
const PARENT_CHECK_INTERVAL_MS = 1_000;

/** Runs weir on this machine until a signal ends it. */
export async function runSingleMachine(log: (line: string) => void): Promise<void> {
  const ending = new AbortController();
  let platform: Platform | undefined;
  let stoppingSinceMs: number | undefined;

  const end = (signal: NodeJS.Signals, what: string = signal) => {
    if (stoppingSinceMs !== undefined) {
      if (Date.now() - stoppingSinceMs < SAME_SIGNAL_MS) return;
      log(`${signal} again: killing everything`);
      platform?.killAll();
      process.exit(128 + constants.signals[signal]);
    }
    stoppingSinceMs = Date.now();
    log(`${what}: stopping everything in order${signal === 'SIGINT' ? ' (Ctrl-C again kills it)' : ''}`);
    ending.abort();
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => end(signal));
  endWithNpm(() => end('SIGHUP', 'npm is gone'));

  try {
    platform = await startPlatform({ env: process.env, log, signal: ending.signal });
  } catch (error) {
    if (ending.signal.aborted) return log('stopped');
    if (!(error instanceof StartError)) throw error;
    console.error(`\n${error.message}`);
    process.exitCode = 1;
    return;
  }
  console.log(banner(platform));
  if (!ending.signal.aborted)
    await new Promise((resolve) => ending.signal.addEventListener('abort', resolve, { once: true }));
  await platform.stop();
  log('stopped');
}

function banner({ httpUrl, credentials, credentialsPath, dataDir, settings }: Platform): string {
  const folder = relative(process.cwd(), dataDir) || '.';
  const https =
    settings.WEIR_TLS_CERT === undefined ? '' : `\n                  https://127.0.0.1:${settings.WEIR_HTTPS_PORT}/`;
  return `
  weir is ready.

    first page    ${httpUrl}/${https}
                  publish your camera there and play it by its name
    WebSDK        ${httpUrl.replace('http', 'ws')}/
    user          ${credentials.user.username}
    password      ${credentials.user.password}
                  (and more in ${relative(process.cwd(), credentialsPath)})
    logs          ${folder}/logs
    ${reachableFrom(settings)}

  Ctrl-C stops everything.
`;
}

/** Says who can connect, so that nobody is surprised. */
function reachableFrom({ WEIR_HTTP_HOST: host, WEIR_ANNOUNCED_ADDRESS: announced }: Platform['settings']): string {
  if (host !== LOOPBACK) return `listens on    ${host}: other machines can connect`;
  const hint = announced === LOOPBACK ? '' : `\n                  although media is announced at ${announced}`;
  return `listens on    ${host}: this machine only; WEIR_HTTP_HOST=0.0.0.0 opens it${hint}`;
}

/** A killed npm doesn't end its children, so this process ends itself when npm is gone. */
function endWithNpm(end: () => void): void {
  if (process.env['npm_lifecycle_event'] === undefined) return;
  const parent = process.ppid;
  const timer = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(timer);
    end();
  }, PARENT_CHECK_INTERVAL_MS);
  timer.unref();
}
