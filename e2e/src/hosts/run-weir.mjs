// What `npm start` runs once its set-up is done.
import { runSingleMachine } from '../../../deploy/single-machine/dist/main.js';

await runSingleMachine((line) => console.log(line));
