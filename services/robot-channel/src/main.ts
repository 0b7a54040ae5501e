import 'reflect-metadata';
import { runService } from '@weir/platform';
import { AppModule, httpAdapter } from './app.module.js';
import { robotChannelSettings } from './config.js';
import { RobotChannel } from './robot-channel.js';

await runService({
  service: 'robot-channel',
  settings: robotChannelSettings,
  module: (context) => AppModule.with(context),
  adapter: httpAdapter,
  start: async (context, app) => {
    const channel = app.get(RobotChannel);
    context.health.check('database', () => channel.isDatabaseThere());
    channel.listen(app);
    return { drain: () => channel.drain(), close: () => channel.close() };
  },
});
