// npm run bench: sets up what is missing, then runs the benchmarks of e2e/bench. Arguments are passed on to them:
// `npm run bench -- --short join`.
import './setup/node-version.mjs';
import { join } from 'node:path';
import { timedLog, setUp } from './setup.mjs';
import { checkout } from './setup/checkout.mjs';
import { run, SetupError } from './setup/command.mjs';
import { installSystemPackages, isNginxRtmpInstalled, NGINX_PACKAGES } from './setup/system-packages.mjs';

/** Benchmarks whose full form compares with nginx. */
const WITH_NGINX = ['glass-to-glass'];

const log = timedLog();
try {
  const { mediasoupWorker } = await setUp({ purpose: 'test', log });
  if (needsNginx(process.argv.slice(2)) && !isNginxRtmpInstalled())
    await installSystemPackages(NGINX_PACKAGES, { log, elsewhere: ['nginx with its RTMP module'] });
  process.env['MEDIASOUP_WORKER_BIN'] = mediasoupWorker;
  await run('compiling the benchmarks', [process.execPath, 'node_modules/.bin/tsc', '--build', 'e2e'], {
    log,
    cwd: checkout,
  });
  await import(join(checkout, 'e2e/out-tsc/spec/bench/main.js'));
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  console.error(`\n${error.message}`);
  process.exitCode = 1;
}

/** If no benchmark is named, all of them run. @param {string[]} args */
function needsNginx(args) {
  const takesValue = (/** @type {string | undefined} */ option) => option === '--out' || option === '--platform';
  const names = args.filter((arg, index) => !arg.startsWith('--') && !takesValue(args[index - 1]));
  return !args.includes('--short') && (names.length === 0 || names.some((name) => WITH_NGINX.includes(name)));
}
