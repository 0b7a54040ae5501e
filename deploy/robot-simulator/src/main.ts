import { Channel } from './channel.js';
import { Robot } from './robot.js';
import { OptionsError, parseSettings, type RobotSettings } from './settings.js';

/** EX_CONFIG of sysexits.h. */
const CONFIGURATION_ERROR_STATUS = 78;

const settings = readSettings();
const log = (message: string): void => console.log(`${settings.robotId}: ${message}`);
const robot = new Robot(settings, log);
const channel = new Channel({
  url: settings.url,
  token: settings.token,
  heard: (text, answer) => robot.take(text, answer),
  log,
});
channel.open();

let isStopping = false;
for (const signal of ['SIGTERM', 'SIGINT'] as const)
  process.on(signal, () => {
    if (isStopping) return;
    isStopping = true;
    channel.close();
    robot.stop().then(
      () => process.exit(0),
      (error: unknown) => {
        console.error(error);
        process.exit(1);
      },
    );
  });

function readSettings(): RobotSettings {
  try {
    return parseSettings(process.argv.slice(2), process.env);
  } catch (error) {
    if (!(error instanceof OptionsError)) throw error;
    console.error(error.message);
    process.exit(CONFIGURATION_ERROR_STATUS);
  }
}
