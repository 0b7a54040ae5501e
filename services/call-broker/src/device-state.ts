import { CONFIG_TYPE, DEVICE_STATE, type DeviceState, type Endpoint } from '@weir/protocol-topvdn';
import type { DevicePresence } from './device-presence.js';

/** An address that isn't known, as the vendor writes it. */
const NOWHERE = '0.0.0.0';
/** The largest number that any client reads: connection keys are 31 bits of the connection's epoch. */
const CONNECTION_KEYS = 2n ** 31n;

/** The fields that describe a device's connection, in answers and in webhooks. */
export interface ConnectionFields {
  state: DeviceState;
  tracker_ip: string;
  tracker_port: number;
  public_ip: string;
  public_port: number;
  local_ip: string;
  local_port: number;
  config_type: (typeof CONFIG_TYPE)['private'];
  conn_key: number;
  relay_ip: string;
  relay_port: number;
}

/**
 * Every device is private: only its app can have its calls watched. A relay, in the vendor's meaning, is a server that takes RTMP; weir
 * has none. The address in the device's own network isn't told to anybody.
 */
export const connectionFields = (
  tracker: Endpoint,
  presence: Pick<DevicePresence, 'state' | 'address' | 'port' | 'epoch'> | undefined,
): ConnectionFields => ({
  state: presence?.state ?? DEVICE_STATE.offline,
  tracker_ip: tracker.host,
  tracker_port: tracker.port,
  public_ip: presence?.address ?? NOWHERE,
  public_port: presence?.port ?? 0,
  local_ip: NOWHERE,
  local_port: 0,
  config_type: CONFIG_TYPE.private,
  conn_key: Number((presence?.epoch ?? 0n) % CONNECTION_KEYS),
  relay_ip: NOWHERE,
  relay_port: 0,
});
