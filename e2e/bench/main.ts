import { mkdir, writeFile } from 'node:fs/promises';
import { join as joinPath } from 'node:path';
import { parseArgs } from 'node:util';
import type { Benchmark } from './benchmark.js';
import { bus } from './bus.bench.js';
import { calls } from './calls.bench.js';
import { controlCpu } from './control-cpu.bench.js';
import { firstFrame } from './first-frame.bench.js';
import { glassToGlass } from './glass-to-glass.bench.js';
import { idleSessions } from './idle-sessions.bench.js';
import { join } from './join.bench.js';
import { machineFacts } from './machine.js';
import { packagingCpu } from './packaging-cpu.bench.js';
import { attachPlatform, startBenchPlatform } from './platform.js';
import { recording } from './recording.bench.js';
import { relay } from './relay.bench.js';
import { robots } from './robots.bench.js';
import { slowStart } from './slow-start.bench.js';
import { formatTable } from './table.js';

const BENCHMARKS: readonly Benchmark[] = [
  bus,
  join,
  idleSessions,
  controlCpu,
  relay,
  glassToGlass,
  packagingCpu,
  recording,
  firstFrame,
  robots,
  calls,
  slowStart,
];

const { values: options, positionals: names } = parseArgs({
  allowPositionals: true,
  options: {
    short: { type: 'boolean', default: false },
    out: { type: 'string', default: 'bench-results' },
    platform: { type: 'string' },
  },
});
const unknown = names.filter((name) => !BENCHMARKS.some((benchmark) => benchmark.name === name));
if (unknown.length > 0) {
  console.error(
    `No such benchmark: ${unknown.join(', ')}. The benchmarks are: ${BENCHMARKS.map(({ name }) => name).join(', ')}`,
  );
  process.exit(2);
}

const startedMs = performance.now();
const log = (line: string) =>
  console.log(`[${((performance.now() - startedMs) / 1_000).toFixed(1).padStart(6)} s] ${line}`);

const machine = machineFacts();
console.log(
  `${machine.cores} cores of ${machine.cpu}, ${machine.memoryGib} GiB; Node ${machine.node}, ` +
    `Chromium ${machine.chromium}, mediasoup ${machine.mediasoup}; commit ${machine.commit}; ` +
    `load before ${machine.loadBefore.toFixed(1)}`,
);
await mkdir(options.out, { recursive: true });
const platform = options.platform === undefined ? await startBenchPlatform(log) : attachPlatform(options.platform);
const interrupted = (signal: NodeJS.Signals) => {
  log(`${signal}: stopping`);
  void platform.stop().finally(() => process.exit(1));
};
process.once('SIGINT', interrupted).once('SIGTERM', interrupted);
try {
  for (const benchmark of BENCHMARKS.filter(({ name }) => names.length === 0 || names.includes(name))) {
    log(benchmark.name);
    const { tables, figures } = await benchmark.run({ platform, short: options.short, log });
    const path = joinPath(options.out, `${benchmark.name}.json`);
    const record = { benchmark: benchmark.name, at: new Date().toISOString(), short: options.short, machine };
    await writeFile(path, `${JSON.stringify({ ...record, tables, figures }, null, 2)}\n`);
    console.log(`\n${tables.map(formatTable).join('\n\n')}\n\n${path}\n`);
  }
} finally {
  await platform.stop();
}
