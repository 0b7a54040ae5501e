import { execFile } from 'node:child_process';
import { mkdir, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { format, resolveConfig } from 'prettier';
import { waitFor } from '@weir/testing';
import { describe, expect, inject, it, onTestFinished } from 'vitest';
import { z } from 'zod';
import { startBrowser } from './browser.js';
import { SdkPage } from './sdk-page.js';

const checkout = resolve(import.meta.dirname, '../..');
const { httpUrl, siteUrl, dataDir, rtspPort, operatorKey } = inject('platform');
const run = promisify(execFile);

interface SettingDescription {
  name: string;
  description: string;
  defaultText: string;
}

/** The README's first stream, published from a page. */
async function publishCamera(): Promise<void> {
  const browser = await startBrowser();
  onTestFinished(() => browser.close());
  const page = await SdkPage.open(await browser.newContext(), siteUrl);
  await page.connect(httpUrl.replace('http:', 'ws:'), { appKey: 'defaultApp' });
  await page.publish('out', { name: 'camera' });
  await page.waitForEvent('out', 'PUBLISHING');
}

/** Stands in for ffplay: it does the same with the same library, without a window, so it fails where ffplay would. */
const HEADLESS_PLAYER = 'timeout 30 ffprobe -v error -show_entries stream=codec_name -of csv ';

/** How long a stream is pushed, instead of the README's minute. */
const PUSHED_S = 12;
const COMMAND_TIMEOUT_MS = 45_000;
const publishedStreams = z.array(z.object({ name: z.string(), status: z.string(), width: z.number().default(0) }));

/** Whether a stream is published and its picture has arrived. */
async function isPublished(name: string): Promise<boolean> {
  const list = await fetch(`${httpUrl}/rest-api/stream/find_all`, {
    headers: { authorization: `Bearer ${operatorKey}` },
  });
  const streams = publishedStreams.parse(await list.json());
  return streams.some((stream) => stream.name === name && stream.status === 'PUBLISHING' && stream.width > 0);
}

const escaped = (text: string) => text.replaceAll('|', '\\|');

/** The settings of a built service: the object `<name>Settings` in its module of settings. */
async function settingsOf(service: string): Promise<SettingDescription[]> {
  const file = join(checkout, 'services', service, 'dist/settings.js');
  const module = (await import(file)) as Record<string, unknown>;
  const shape = Object.entries(module).find(
    ([name, value]) => name.endsWith('Settings') && typeof value === 'object',
  )?.[1];
  return describeSettings(shape);
}

async function describeSettings(shape: unknown): Promise<SettingDescription[]> {
  const platform = (await import(join(checkout, 'libs/platform/dist/settings.js'))) as {
    describeSettings(shape: unknown): SettingDescription[];
  };
  return platform.describeSettings(shape);
}

const table = (settings: SettingDescription[]) =>
  [
    '| setting | default | meaning |',
    '|---|---|---|',
    ...settings.map(
      ({ name, defaultText, description }) =>
        `| \`${name}\` | ${defaultText === '' ? '' : `\`${escaped(defaultText)}\``} | ${escaped(description)} |`,
    ),
  ].join('\n');

async function settingsPage(): Promise<string> {
  const services = (await readdir(join(checkout, 'services'))).sort();
  const platform = (await import(join(checkout, 'libs/platform/dist/settings.js'))) as { platformSettings: unknown };
  const sections = [
    '# Settings',
    'Environment variables, service by service. A service that starts with wrong values names all of them and exits.',
    '## All services',
    table(await describeSettings(platform.platformSettings)),
  ];
  for (const service of services) sections.push(`## ${service}`, table(await settingsOf(service)));
  const text = `${sections.join('\n\n')}\n`;
  return format(text, { ...(await resolveConfig(join(checkout, 'README.md'))), parser: 'markdown' });
}

describe('the documentation', () => {
  it('lists every setting as the code describes it (UPDATE_DOCS=1 writes the list)', async () => {
    const path = join(checkout, 'docs/settings.md');
    const page = await settingsPage();
    if (process.env['UPDATE_DOCS'] === '1') await writeFile(path, page);
    expect(await readFile(path, 'utf8')).toBe(page);
  });

  it('has commands in the README that work as they are written', { timeout: 150_000 }, async () => {
    const readme = await readFile(join(checkout, 'README.md'), 'utf8');
    const blocks = [...readme.matchAll(/```sh run\n([^]*?)```/g)].map(([, block = '']) => block);
    expect(blocks.length).toBeGreaterThan(3);
    await publishCamera();
    const folder = join(dataDir, 'readme');
    await mkdir(folder, { recursive: true });
    await rm(join(folder, '.weir'), { force: true });
    await symlink(dataDir, join(folder, '.weir'));
    await rm(join(folder, 'node_modules'), { force: true });
    await symlink(join(checkout, 'node_modules'), join(folder, 'node_modules'));
    for (const block of blocks) {
      const commands = block
        .replaceAll('http://localhost:8080', httpUrl)
        .replaceAll('ws://localhost:8080', httpUrl.replace('http:', 'ws:'))
        .replaceAll('localhost:8554', `localhost:${rtspPort}`)
        .replaceAll('curl -s', 'curl -sS')
        .replaceAll('ffplay ', HEADLESS_PLAYER)
        .replaceAll(' -t 60 ', ` -t ${PUSHED_S} `);
      const running = run('bash', ['-euo', 'pipefail', '-c', commands], { cwd: folder, timeout: COMMAND_TIMEOUT_MS });
      const pushed = /^ffmpeg [^]*\/demo\/(\S+)/m.exec(block)?.[1];
      if (pushed !== undefined) {
        const what = `the stream ${pushed}`;
        await Promise.all([running, waitFor(() => isPublished(pushed), { timeoutMs: PUSHED_S * 1_000, what })]);
        continue;
      }
      const { stdout } = await running;
      expect(stdout).not.toMatch(/"error"|UNAUTHENTICATED|undefined/);
      expect(stdout).toMatch(block.includes('ffplay ') ? /stream,(h264|vp8)/ : /./);
    }
  });
});
