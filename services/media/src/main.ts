import 'reflect-metadata';
import { runService } from '@weir/platform';
import { openMedia } from './media.js';
import { mediaSettings } from './settings.js';

await runService({
  service: 'media',
  settings: mediaSettings,
  open: openMedia,
});
