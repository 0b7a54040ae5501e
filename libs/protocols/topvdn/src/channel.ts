/** The device's side of the protocol, which runs in browsers too: nothing here needs Node's crypto. */
export * from './delivery-schedule.js';
export * from './frames.js';
export * from './init-string.js';
export * from './settings.js';
