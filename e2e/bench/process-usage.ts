import { readdirSync, readFileSync } from 'node:fs';

/** Linux reports processor time in hundredths of a second (USER_HZ), whatever its timer interval is. */
const MS_PER_TICK = 10;

/** Processor time that all threads of a process have used so far, in user and kernel mode. */
export function cpuMs(pid: number): number {
  const [userTicks = NaN, kernelTicks = NaN] = statFields(pid).slice(11, 13).map(Number);
  return (userTicks + kernelTicks) * MS_PER_TICK;
}

/** The same for a process and all its descendants, including those that have ended. */
export const treeCpuMs = (pid: number): number =>
  [pid, ...descendants(pid)].reduce((total, member) => total + cpuMsWithEnded(member), 0);

function cpuMsWithEnded(pid: number): number {
  const ticks = ifThere(() => statFields(pid).slice(11, 15).map(Number)) ?? []; // after its end, the parent has the time
  return ticks.reduce((total, count) => total + count, 0) * MS_PER_TICK;
}

/** How much of the memory that a process has mapped is in RAM. Pages that it shares with others count fully. */
export function rssBytes(pid: number): number {
  const kilobytes = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  if (kilobytes === undefined) throw new Error(`process ${pid} has no memory: it has ended`);
  return Number(kilobytes) * 1_024;
}

/** Like `rssBytes`, but of pages that several processes share, each has its part. */
export function pssBytes(pid: number): number {
  const kilobytes = /^Pss:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1];
  if (kilobytes === undefined) throw new Error(`process ${pid} has no memory: it has ended`);
  return Number(kilobytes) * 1_024;
}

/** The port that a service was told to listen on. */
export function listenPort(pid: number): number {
  const environment = readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0');
  const port = environment.find((entry) => entry.startsWith('WEIR_LISTEN_PORT='))?.split('=')[1];
  if (port === undefined) throw new Error(`process ${pid} has no WEIR_LISTEN_PORT`);
  return Number(port);
}

/** Throws if a process may not open so many files. */
export function checkOpenFiles(needed: number): void {
  const limits = readFileSync('/proc/self/limits', 'utf8');
  const hard = /^Max open files\s+\S+\s+(\S+)/m.exec(limits)?.[1] ?? '';
  if (hard !== 'unlimited' && Number(hard) < needed)
    throw new Error(
      `A process may open ${hard} files here, but this benchmark needs ${needed}. ` +
        `As root: ulimit -n ${needed}, or raise nofile in /etc/security/limits.conf`,
    );
}

/** The processes that a process has started, directly or indirectly, without itself. */
export function descendants(pid: number): number[] {
  const parents = new Map<number, number[]>();
  for (const name of readdirSync('/proc')) {
    const child = Number(name);
    if (!Number.isInteger(child)) continue;
    const parent = parentOf(child);
    if (parent !== undefined) parents.set(parent, [...(parents.get(parent) ?? []), child]);
  }
  const below = (ancestor: number): number[] =>
    (parents.get(ancestor) ?? []).flatMap((child) => [child, ...below(child)]);
  return below(pid);
}

function parentOf(pid: number): number | undefined {
  const parent = ifThere(() => statFields(pid)[1]);
  return parent === undefined ? undefined : Number(parent);
}

/** The name of a process: the first 15 characters of its program's name. */
export const nameOf = (pid: number): string | undefined =>
  ifThere(() => readFileSync(`/proc/${pid}/comm`, 'utf8').trim());

/** Undefined if the process has ended in the meantime. */
function ifThere<Value>(read: () => Value): Value | undefined {
  try {
    return read();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ESRCH') return undefined;
    throw error;
  }
}

/** The fields of /proc/<pid>/stat from the third one (the state) on. The second, the name, may contain anything. */
function statFields(pid: number): string[] {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
}

/** By name, functions that return the processor time used so far, in milliseconds. */
export type CpuClocks = Readonly<Record<string, () => number>>;

/** Processor time that each clock counts during a period, in milliseconds per second: 1000 is one whole core. */
export class CpuWindow {
  readonly #startedMs = performance.now();
  readonly #startCpuMs: Record<string, number>;

  constructor(private readonly clocks: CpuClocks) {
    this.#startCpuMs = readAll(clocks);
  }

  end(): { elapsedMs: number; msPerS: Record<string, number> } {
    const endCpuMs = readAll(this.clocks);
    const elapsedMs = performance.now() - this.#startedMs;
    const msPerS = Object.fromEntries(
      Object.entries(endCpuMs).map(([name, ms]) => [name, ((ms - (this.#startCpuMs[name] ?? 0)) * 1_000) / elapsedMs]),
    );
    return { elapsedMs, msPerS };
  }
}

const readAll = (clocks: CpuClocks): Record<string, number> =>
  Object.fromEntries(Object.entries(clocks).map(([name, read]) => [name, read()]));
