// npm run failure: sets up what is missing, then starts a platform and runs the failure series of e2e/failure against
// it. Arguments are passed on to them: `npm run failure -- bodies --seed 7 --trials 3`.
import './setup/node-version.mjs';
import { join } from 'node:path';
import { timedLog, setUp } from './setup.mjs';
import { checkout } from './setup/checkout.mjs';
import { run, SetupError } from './setup/command.mjs';

const log = timedLog();
try {
  const { mediasoupWorker } = await setUp({ purpose: 'test', log });
  process.env['MEDIASOUP_WORKER_BIN'] = mediasoupWorker;
  await run('compiling the series', [process.execPath, 'node_modules/.bin/tsc', '--build', 'e2e'], {
    log,
    cwd: checkout,
  });
  await import(join(checkout, 'e2e/out-tsc/spec/failure/main.js'));
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  console.error(`\n${error.message}`);
  process.exitCode = 1;
}
