export * from './call-machine.js';
export * from './channel.js';
export * from './control-word.js';
export * from './token.js';
export * from './url.js';
export * from './web-api.js';
export * from './webhooks.js';
