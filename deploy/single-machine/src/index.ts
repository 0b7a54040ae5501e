export { startPlatform, type Credentials, type Platform, type PlatformOptions, type ProcessName } from './platform.js';
export { freePortRange, freePorts } from './ports.js';
export { StartError } from './settings.js';
