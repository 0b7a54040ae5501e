// Does what `npm start` does after its set-up.
import { runSingleMachine } from '../../../deploy/single-machine/dist/main.js';

await runSingleMachine((line) => console.log(line));
