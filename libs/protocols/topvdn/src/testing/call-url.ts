import type { CallUrl } from '../url.js';

/** The URL of a device, as the vendor's samples order it. */
export const formatCallUrl = ({ host, port, token }: CallUrl): string =>
  `topvdn://${host.includes(':') ? `[${host}]` : host}:${port}?protocolType=1&token=${token}`;
