import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { waitFor } from '@weir/testing';
import { launch, type Browser } from 'puppeteer-core';

const FIREFOX = process.env['FIREFOX_BIN'] ?? '/usr/bin/firefox-esr';
const PULSEAUDIO = '/usr/bin/pulseaudio';

export const isFirefoxInstalled = (): boolean => existsSync(FIREFOX) && existsSync(PULSEAUDIO);

const PREFERENCES = {
  'media.autoplay.default': 0,
  'media.autoplay.block-webaudio': false,
  // Otherwise it has no candidates on a machine without a network.
  'media.peerconnection.ice.loopback': true,
  'media.peerconnection.ice.obfuscate_host_addresses': false,
};

export interface Firefox {
  readonly browser: Browser;
  close(): Promise<void>;
}

/**
 * Starts Debian's Firefox, unmodified, beside a sound server that plays to nobody. Puppeteer drives it: Playwright asks
 * for its own build or for a newer one.
 */
export async function startFirefox(): Promise<Firefox> {
  const folder = await mkdtemp(join(tmpdir(), 'weir-firefox-'));
  const socket = join(folder, 'sound.socket');
  const sound = spawn(
    PULSEAUDIO,
    [
      ...['-n', '--daemonize=no', '--exit-idle-time=-1', '--use-pid-file=no', '-L', 'module-null-sink'],
      ...['-L', `module-native-protocol-unix auth-anonymous=1 socket=${socket}`],
    ],
    { stdio: 'ignore', env: { ...process.env, HOME: folder, XDG_RUNTIME_DIR: folder } },
  );
  const ended = once(sound, 'exit');
  const close = async (): Promise<void> => {
    sound.kill();
    await ended;
    await rm(folder, { recursive: true, force: true });
  };
  try {
    await waitFor(() => existsSync(socket), { what: 'the sound server' });
    const browser = await launch({
      ...{ browser: 'firefox', executablePath: FIREFOX, headless: true, extraPrefsFirefox: PREFERENCES },
      env: { ...process.env, PULSE_SERVER: `unix:${socket}` },
    });
    return { browser, close: () => browser.close().finally(close) };
  } catch (error) {
    await close();
    throw error;
  }
}
