import { execFile, execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

/**
 * Simulated machines with their own networks: network namespaces of Linux. The tests make them as root with iproute2.
 * Their names contain the process that made them, so that several runs work side by side, and the next run cleans up
 * after a killed one.
 */

const PREFIX = 'weir-test';
/** Blocks of 198.18.0.0/15, which RFC 2544 reserves for network tests. A run takes one block of sixteen addresses. */
const CONTROL_BLOCKS = 8_192;

const execute = promisify(execFile);

/** @returns why this machine can't have any; undefined if it can */
export function whyNoHosts(): string | undefined {
  if (process.platform !== 'linux') return 'only Linux has network namespaces';
  if (process.getuid?.() !== 0) return 'only root can make network namespaces';
  const name = `${PREFIX}-${ownerOf(process.pid)}-probe`;
  try {
    execFileSync('ip', ['netns', 'add', name], { stdio: 'pipe' });
  } catch (error) {
    return `a network namespace can't be made: ${messageOf(error)}`;
  }
  try {
    const veth = ['link', 'add', 'name', 'here', 'type', 'veth', 'peer', 'name', 'there'];
    execFileSync('ip', ['-n', name, ...veth], { stdio: 'pipe' });
    execFileSync('ip', ['-n', name, 'tuntap', 'add', 'dev', 'bad', 'mode', 'tun'], { stdio: 'pipe' });
    execFileSync('/usr/bin/python3', ['-c', ''], { stdio: 'pipe' });
    return undefined;
  } catch (error) {
    return `a network namespace can't have what the tests need: ${messageOf(error)}`;
  } finally {
    execFileSync('ip', ['netns', 'delete', name], { stdio: 'pipe' });
  }
}

export class Network {
  readonly #namespaces: Namespace[] = [];
  readonly #block: string;
  #controls = 0;

  private constructor(block: number) {
    this.#block = `198.${18 + (block >> 12)}.${(block >> 4) & 255}.`;
    this.#firstHost = (block & 15) * 16;
  }

  readonly #firstHost: number;

  static async open(): Promise<Network> {
    await removeLeftovers();
    const { stdout: used } = await execute('ip', ['-o', '-4', 'address']);
    for (let block = process.pid % CONTROL_BLOCKS; ; block = (block + 1) % CONTROL_BLOCKS) {
      const network = new Network(block);
      if (!used.includes(` ${network.#address(1)}/`)) return network;
    }
  }

  /** @param hosts further host names that are known there, with their addresses */
  async namespace(label: string, hosts: Readonly<Record<string, string>> = {}): Promise<Namespace> {
    const namespace = new Namespace(`${PREFIX}-${ownerOf(process.pid)}-${label}`);
    this.#namespaces.push(namespace);
    await namespace.create(hosts);
    return namespace;
  }

  /** Connects two of them with a cable. */
  async connect(name: string, a: readonly [Namespace, string], b: readonly [Namespace, string]): Promise<void> {
    const peer = ['type', 'veth', 'peer', 'name', name, 'netns', b[0].name];
    await execute('ip', ['-n', a[0].name, 'link', 'add', 'name', name, ...peer]);
    for (const [{ name: namespace }, address] of [a, b]) {
      await execute('ip', ['-n', namespace, 'address', 'add', address, 'dev', name]);
      await execute('ip', ['-n', namespace, 'link', 'set', 'dev', name, 'up']);
    }
  }

  /**
   * Connects one of them with this process.
   * @returns its address on the cable, and that of this process
   */
  async control(namespace: Namespace): Promise<{ there: string; here: string }> {
    const first = 4 * this.#controls++;
    const [here, there] = [this.#address(first + 1), this.#address(first + 2)];
    const device = `wt${process.pid}-${this.#controls}`;
    await execute('ip', [
      'link',
      'add',
      'name',
      device,
      'type',
      'veth',
      'peer',
      'name',
      'control',
      'netns',
      namespace.name,
    ]);
    await execute('ip', ['address', 'add', `${here}/30`, 'dev', device]);
    await execute('ip', ['link', 'set', 'dev', device, 'up']);
    await execute('ip', ['-n', namespace.name, 'address', 'add', `${there}/30`, 'dev', 'control']);
    await execute('ip', ['-n', namespace.name, 'link', 'set', 'dev', 'control', 'up']);
    return { there, here };
  }

  /** Removes all namespaces and kills whatever still runs in them. */
  async close(): Promise<void> {
    for (const { name } of this.#namespaces.splice(0)) await remove(name);
  }

  #address(index: number): string {
    return `${this.#block}${this.#firstHost + index}`;
  }
}

export class Namespace {
  constructor(readonly name: string) {}

  async create(hosts: Readonly<Record<string, string>>): Promise<void> {
    await execute('ip', ['netns', 'add', this.name]);
    await execute('ip', ['-n', this.name, 'link', 'set', 'dev', 'lo', 'up']);
    mkdirSync(filesOf(this.name), { recursive: true });
    const lines = Object.entries({ localhost: '127.0.0.1', ...hosts }).map(([host, address]) => `${address} ${host}\n`);
    // `ip netns exec` uses this file instead of /etc/hosts.
    writeFileSync(join(filesOf(this.name), 'hosts'), lines.join(''));
  }

  /** The command that runs a program in the namespace. */
  command(program: string, ...args: string[]): [string, ...string[]] {
    return ['ip', 'netns', 'exec', this.name, program, ...args];
  }

  /** Runs `ip` on its devices, addresses and routes. */
  async ip(...args: string[]): Promise<string> {
    return (await execute('ip', ['-n', this.name, ...args])).stdout;
  }

  /** kill -9 for everything that runs in the namespace. */
  async killAll(): Promise<void> {
    await killAllIn(this.name);
  }

  /** How many bytes one of its devices has sent. */
  async sentBytes(device: string): Promise<number> {
    const { stdout } = await execute('ip', [
      'netns',
      'exec',
      this.name,
      'cat',
      `/sys/class/net/${device}/statistics/tx_bytes`,
    ]);
    return Number(stdout);
  }
}

const filesOf = (name: string) => join('/etc/netns', name);

/** Identifies a process in names: by its pid and the time of its start. */
function ownerOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return `${pid}-${stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]}`;
  } catch {
    return undefined; // the process is gone
  }
}

/** Removes what killed runs have left behind. */
async function removeLeftovers(): Promise<void> {
  const { stdout } = await execute('ip', ['netns', 'list']);
  const names = new Set([...stdout.split('\n').map((line) => line.split(' ')[0] ?? ''), ...filesInEtc()]);
  for (const name of names) {
    const [, pid, start] = new RegExp(`^${PREFIX}-(\\d+)-(\\d+)-`).exec(name) ?? [];
    if (pid !== undefined && ownerOf(Number(pid)) !== `${pid}-${start}`) await remove(name);
  }
}

function filesInEtc(): string[] {
  try {
    return readdirSync('/etc/netns');
  } catch {
    return []; // there are none
  }
}

async function killAllIn(name: string): Promise<void> {
  const pids = await execute('ip', ['netns', 'pids', name]).then(
    ({ stdout }) => stdout.split('\n').filter((line) => line !== ''),
    () => [], // the namespace is already gone
  );
  for (const pid of pids) {
    try {
      process.kill(Number(pid), 'SIGKILL');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  }
}

async function remove(name: string): Promise<void> {
  await killAllIn(name);
  // Its devices vanish with it, together with their other ends.
  await execute('ip', ['netns', 'delete', name]).catch((error: unknown) => {
    if (!messageOf(error).includes('No such file')) throw error;
  });
  rmSync(filesOf(name), { recursive: true, force: true });
}

const messageOf = (error: unknown): string => {
  const said = error instanceof Error && 'stderr' in error ? String(error.stderr).trim() : '';
  return said === '' ? String(error) : said;
};
