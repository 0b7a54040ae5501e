import 'reflect-metadata';
import { runService } from '@weir/platform';
import { AppModule, httpAdapter } from './app.module.js';
import { robotChannelSettings } from './settings.js';
import { openRobotChannel } from './robot-channel.js';

await runService({
  service: 'robot-channel',
  settings: robotChannelSettings,
  open: openRobotChannel,
  module: AppModule.with,
  adapter: httpAdapter,
});
