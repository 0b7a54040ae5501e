export * from './app-machine.js';
export * from './codec.js';
export * from './messages.js';
export * from './problem.js';
export * from './robot-machine.js';
export * from './settings.js';
