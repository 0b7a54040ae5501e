// npm start: sets up what is missing, then runs weir on this machine until Ctrl-C.
import './setup/node-version.mjs';
import { timedLog, setUp } from './setup.mjs';
import { SetupError } from './setup/command.mjs';

const log = timedLog();
try {
  const { mediasoupWorker } = await setUp({ purpose: 'start', log });
  process.env['MEDIASOUP_WORKER_BIN'] = mediasoupWorker;
  // Imported only now, because the set-up compiles it and installs the packages that it uses.
  const { runSingleMachine } = await import(new URL('./dist/main.js', import.meta.url).href);
  await runSingleMachine(log);
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  console.error(`\n${error.message}`);
  process.exitCode = 1;
}
