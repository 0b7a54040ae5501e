import { randomInt } from 'node:crypto';
import { parseArgs } from 'node:util';
import { machineFacts } from '../bench/machine.js';
import { attachPlatform, startBenchPlatform } from '../bench/platform.js';
import { formatTable } from '../bench/table.js';
import { bodies } from './bodies.series.js';
import { frames } from './frames.series.js';
import { messages } from './messages.series.js';
import { recording } from './recording.series.js';
import { reloads } from './reloads.series.js';
import { rtsp } from './rtsp.series.js';
import { SeededRandom } from './seeded-random.js';
import type { Series } from './series.js';

const SERIES: readonly Series[] = [bodies, reloads, frames, rtsp, recording, messages];

/**
 * The limits stay those of a fresh installation. The demo's robots would add to what is measured. The series themselves
 * receive the files and webhooks of recordings.
 */
const SETTINGS = { WEIR_DEMO_ROBOTS: '0', WEIR_OUTBOUND_ALLOW: '127.0.0.1', WEIR_RECORDING_UPLOAD_HTTP: '1' };

const { values: options, positionals: names } = parseArgs({
  allowPositionals: true,
  options: {
    short: { type: 'boolean', default: false },
    seed: { type: 'string' },
    trials: { type: 'string' },
    kill: { type: 'string' },
    platform: { type: 'string' },
  },
});
const wrong = [
  ...names.filter((name) => !SERIES.some((series) => series.name === name)).map((name) => `no such series: ${name}`),
  ...(['seed', 'trials'] as const)
    .filter((option) => options[option] !== undefined && !/^[1-9]\d{0,8}$/.test(options[option]))
    .map((option) => `--${option} must be a whole number from 1 to 999999999`),
  ...(options.kill === undefined || SERIES.some(({ kills }) => kills?.includes(options.kill ?? ''))
    ? []
    : [`--kill must be one of ${SERIES.flatMap(({ kills = [] }) => kills).join(', ')}`]),
];
if (wrong.length > 0) {
  console.error(`${wrong.join('; ')}. The series are: ${SERIES.map(({ name }) => name).join(', ')}`);
  process.exit(2);
}

const startedMs = performance.now();
const log = (line: string) =>
  console.log(`[${((performance.now() - startedMs) / 1_000).toFixed(1).padStart(6)} s] ${line}`);
const seed = Number(options.seed ?? randomInt(1, 1_000_000_000));
const machine = machineFacts();
console.log(
  `${machine.cores} cores of ${machine.cpu}, ${machine.memoryGib} GiB; Node ${machine.node}; commit ${machine.commit}; ` +
    `load before ${machine.loadBefore.toFixed(1)}; seed ${seed}`,
);
const platform =
  options.platform === undefined ? await startBenchPlatform(log, SETTINGS) : attachPlatform(options.platform);
const interrupted = (signal: NodeJS.Signals) => {
  log(`${signal}: stopping`);
  void platform.stop().finally(() => process.exit(1));
};
process.once('SIGINT', interrupted).once('SIGTERM', interrupted);
try {
  for (const series of SERIES.filter(({ name }) => names.length === 0 || names.includes(name))) {
    log(series.name);
    const { short } = options;
    const trials = Number(options.trials ?? (short ? series.trials.short : series.trials.full));
    const random = new SeededRandom(seed);
    const { tables, broken } = await series.run({ platform, short, trials, random, log, only: options.kill });
    console.log(`\n${tables.map(formatTable).join('\n\n')}\n`);
    for (const sentence of broken) console.log(`${series.name}: ${sentence}`);
    if (broken.length > 0) {
      const only = options.kill === undefined ? '' : ` --kill ${options.kill}`;
      console.log(`to repeat this: npm run failure -- ${series.name} --seed ${seed} --trials ${trials}${only}`);
      process.exitCode = 1;
    }
  }
} finally {
  await platform.stop();
}
// What a series has not closed ends here.
process.exit();
