export * from './codec.js';
export * from './machine.js';
export * from './messages.js';
export * from './rest.js';
export * from './settings.js';
export * from './webhooks.js';
