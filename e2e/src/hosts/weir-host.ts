import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { ProcessName } from '@weir/single-machine';
import { waitFor } from '@weir/testing';
import type { Browser, BrowserContext } from 'playwright-core';
import { z } from 'zod';
import { startBrowser } from '../browser.js';
import { SdkPage } from '../sdk-page.js';
import type { LinkEnd } from './bad-link.js';
import type { Namespace, Network } from './network.js';

const HTTP_PORT = 8_080;
const START_TIMEOUT_MS = 100_000;
const STOP_TIMEOUT_MS = 40_000;
/** The browser considers this URL secure, so that cameras work; no server listens there. */
const PAGE_URL = 'http://localhost/';

const credentialsFile = z.object({ operator: z.object({ key: z.string() }) });
const processesFile = z.record(z.string(), z.object({ pid: z.number() }));

const relayList = z.array(
  z.object({
    localStreamName: z.string(),
    remoteStreamName: z.string(),
    uri: z.string(),
    status: z.string(),
    reason: z.string().optional(),
    retries: z.number().optional(),
    localMediaSessionId: z.string().nullable(),
    remoteMediaSessionId: z.string().nullable(),
    stats: z
      .looseObject({
        packets: z.number(),
        bytes: z.number(),
        resentPackets: z.number(),
        keyFrameRequests: z.number(),
      })
      .optional(),
  }),
);
export type ListedRelay = z.output<typeof relayList>[number];

export interface HostOptions {
  label: string;
  network: Network;
  /** The host's address on the link between the hosts. */
  address: string;
  /** The network of this host and its user; its first address is the host's. */
  userNetwork: string;
  hosts: Readonly<Record<string, string>>;
  /** The network of the link, which relays may connect to. */
  linkNetwork: string;
  siteUrl: string;
}

/**
 * A machine with a complete weir, as `npm start` runs it, and another machine with a browser, which is connected to it
 * by a separate cable.
 */
export class WeirHost implements LinkEnd {
  readonly #lines: string[] = [];
  #weir: ChildProcess | undefined;
  #browser: Browser | undefined;
  #folder = '';
  #operatorKey = '';
  #control = { there: '', here: '' };

  private constructor(
    private readonly options: HostOptions,
    readonly namespace: Namespace,
    private readonly user: Namespace,
  ) {}

  static async create(options: HostOptions): Promise<WeirHost> {
    const { network, label, hosts } = options;
    const namespace = await network.namespace(label, hosts);
    const user = await network.namespace(`${label}-user`, hosts);
    const host = new WeirHost(options, namespace, user);
    host.#control = await network.control(namespace);
    return host;
  }

  get address(): string {
    return this.options.address;
  }

  /** The URL at which WCS clients connect to this host, with its name in the network. */
  get uri(): string {
    return `ws://${this.options.label}.test:${HTTP_PORT}`;
  }

  /** The address at which the host reaches this process. */
  get testAddress(): string {
    return this.#control.here;
  }

  /** Must be called after the host has its link. */
  async start(): Promise<void> {
    const { namespace, user } = this;
    const { network, address, userNetwork } = this.options;
    await network.connect('user', [namespace, `${userNetwork}.1/24`], [user, `${userNetwork}.2/24`]);
    await user.ip('route', 'add', 'default', 'via', `${userNetwork}.1`);
    // A machine with several networks must send from the address that it announces.
    await namespace.ip('route', 'replace', `${userNetwork}.0/24`, 'dev', 'user', 'src', address);
    this.#folder = await mkdtemp(join(tmpdir(), `weir-host-${this.options.label}-`));
    // PostgreSQL runs as another user, who must be able to enter the folder.
    await chmod(this.#folder, 0o711);
    await Promise.all([this.#startWeir(), this.#startBrowser()]);
  }

  /** Opens a page that has loaded the unmodified WebSDK and has a session on this host. */
  async connectedPage(context: BrowserContext): Promise<SdkPage> {
    const page = await SdkPage.open(context, PAGE_URL);
    await page.connect(this.uri);
    return page;
  }

  /** Its pages come from the tests' site, although the browser's network doesn't reach that site. */
  async newContext(): Promise<BrowserContext> {
    if (this.#browser === undefined) throw new Error('not started');
    // Without the last permission, an intercepted page may not connect to private addresses.
    const permissions = ['camera', 'microphone', 'local-network-access'];
    const context = await this.#browser.newContext({ permissions });
    await context.route(`${PAGE_URL}**`, async (route) => {
      const { pathname } = new URL(route.request().url());
      const response = await fetch(new URL(pathname, this.options.siteUrl));
      await route.fulfill({
        status: response.status,
        contentType: response.headers.get('content-type') ?? 'application/octet-stream',
        body: Buffer.from(await response.arrayBuffer()),
      });
    });
    return context;
  }

  async rest(method: string, body?: object): Promise<{ status: number; text: string }> {
    const response = await fetch(`http://${this.#control.there}:${HTTP_PORT}/rest-api/pull/${method}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${this.#operatorKey}`, 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    return { status: response.status, text: await response.text() };
  }

  async relays(): Promise<ListedRelay[]> {
    const { status, text } = await this.rest('find_all');
    if (status === 404) return [];
    if (status !== 200) throw new Error(`find_all: ${status} ${text}`);
    return relayList.parse(JSON.parse(text));
  }

  /** Undefined if there is none, or if the host doesn't answer. */
  async relayOf(localStreamName: string): Promise<ListedRelay | undefined> {
    const { status, text } = await this.rest('find_all');
    if (status !== 200) return undefined;
    return relayList.parse(JSON.parse(text)).find((relay) => relay.localStreamName === localStreamName);
  }

  async kill(name: ProcessName): Promise<void> {
    const before = this.#pidOf(name);
    if (before === undefined) throw new Error(`${name} isn't running`);
    process.kill(before, 'SIGKILL');
    await waitFor(() => ![before, undefined].includes(this.#pidOf(name)), {
      timeoutMs: 20_000,
      what: `the restart of ${name}`,
    });
  }

  /** Kills every process of the platform, its servers and its supervisor at once, as if the machine lost its power. */
  async killAll(): Promise<void> {
    const weir = this.#weir;
    if (weir === undefined) throw new Error('not started');
    const ended = once(weir, 'exit');
    await this.namespace.killAll();
    await ended;
  }

  /** Starts weir again after `killAll`, with the same data. */
  async startAgain(): Promise<void> {
    this.#lines.length = 0;
    await this.#startWeir();
  }

  async untilHealthy(): Promise<void> {
    const url = `http://${this.#control.there}:${HTTP_PORT}/healthz`;
    await waitFor(async () => (await fetch(url)).status === 200, {
      timeoutMs: 60_000,
      intervalMs: 200,
      what: `a healthy ${this.options.label}`,
    });
  }

  async stop(): Promise<void> {
    await this.#browser?.close();
    const weir = this.#weir;
    if (weir !== undefined && weir.exitCode === null && weir.signalCode === null) {
      const ended = once(weir, 'exit');
      weir.kill('SIGTERM');
      const killer = setTimeout(() => weir.kill('SIGKILL'), STOP_TIMEOUT_MS);
      await ended;
      clearTimeout(killer);
    }
    if (this.#folder === '') return;
    if (process.env['WEIR_E2E_KEEP'] === undefined) await rm(this.#folder, { recursive: true, force: true });
    else console.log(`data of ${this.options.label} kept in ${this.#folder}\n${this.#lines.join('\n')}`);
  }

  async #startWeir(): Promise<void> {
    const { label, address, linkNetwork } = this.options;
    const dataDir = join(this.#folder, 'data');
    const [file, ...args] = this.namespace.command(process.execPath, join(import.meta.dirname, 'run-weir.mjs'));
    const weir = spawn(file, args, {
      env: {
        ...process.env,
        // As under `npm start`, weir ends when the process that started it ends.
        npm_lifecycle_event: 'start',
        WEIR_DATA_DIR: dataDir,
        WEIR_HTTP_HOST: '0.0.0.0',
        // Pages come from the tests' own server, and hosts are addressed by their names.
        WEIR_CORS_ORIGINS: '*',
        WEIR_ALLOWED_HOSTS: '*',
        WEIR_HTTP_PORT: String(HTTP_PORT),
        WEIR_ANNOUNCED_ADDRESS: address,
        WEIR_MEDIA_WORKERS: '1',
        WEIR_DEMO_ROBOTS: '0',
        LOG_LEVEL: 'debug',
        WEIR_OUTBOUND_ALLOW: `${linkNetwork},${this.testAddress}`,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#weir = weir;
    for (const output of [weir.stdout, weir.stderr])
      createInterface(output).on('line', (line) => this.#lines.push(line));
    const hasEnded = () => weir.exitCode !== null || weir.signalCode !== null;
    const isReady = () => this.#lines.some((line) => line.includes('weir is ready'));
    await waitFor(() => hasEnded() || isReady(), { timeoutMs: START_TIMEOUT_MS, what: `the start of ${label}` });
    if (hasEnded()) throw new Error(`${label} did not start:\n${this.#lines.slice(-30).join('\n')}`);
    const { operator } = credentialsFile.parse(JSON.parse(readFileSync(join(dataDir, 'credentials.json'), 'utf8')));
    this.#operatorKey = operator.key;
  }

  async #startBrowser(): Promise<void> {
    const program = join(this.#folder, 'chromium');
    const command = this.user.command(process.env['CHROMIUM_BIN'] ?? '/usr/bin/chromium');
    await writeFile(program, `#!/bin/sh\nexec ${command.join(' ')} "$@"\n`, { mode: 0o755 });
    this.#browser = await startBrowser(program);
  }

  #pidOf(name: ProcessName): number | undefined {
    const path = join(this.#folder, 'data/processes.json');
    return existsSync(path) ? processesFile.parse(JSON.parse(readFileSync(path, 'utf8')))[name]?.pid : undefined;
  }
}
