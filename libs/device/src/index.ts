export {
  Call,
  type CallEvents,
  type CallState,
  type LocalMedia,
  type Muted,
  type PeerConnectionConstructor,
} from './call.js';
export type { Socket, SocketConstructor } from './channel.js';
export {
  Device,
  type CloudMessageListener,
  type DeviceEvents,
  type DeviceOptions,
  type OpenOptions,
} from './device.js';
export { DeviceError, LOCAL_CODE } from './device-error.js';
export { DEFAULT_SETTINGS, type DeviceSettings } from './settings.js';
export {
  ERROR_CODE,
  type CloudMessage,
  type EndCause,
  type Quality,
  type RingState,
} from '@weir/protocol-topvdn/channel';
