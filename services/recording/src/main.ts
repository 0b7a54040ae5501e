import 'reflect-metadata';
import { runService } from '@weir/platform';
import { AppModule, httpAdapter } from './app.module.js';
import { recordingSettings } from './settings.js';
import { openRecording } from './recording.js';

await runService({
  service: 'recording',
  settings: recordingSettings,
  open: openRecording,
  module: AppModule.with,
  adapter: httpAdapter,
});
