export interface PublicPorts {
  http: number;
  https: number;
}
export type CompatPorts = 'on' | 'off';

export interface ListeningPort {
  port: number;
  scheme: 'http' | 'https';
  /** The setting to change if the port is taken. */
  setting: 'WEIR_HTTP_PORT' | 'WEIR_HTTPS_PORT' | 'WEIR_COMPAT_PORTS';
  purpose: string;
}

/** The ports that WCS clients use according to the original documents. */
export const compatPorts: readonly ListeningPort[] = [
  { port: 8080, scheme: 'http', setting: 'WEIR_COMPAT_PORTS', purpose: 'WebSocket (`ws://`)' },
  { port: 8443, scheme: 'https', setting: 'WEIR_COMPAT_PORTS', purpose: 'WebSocket over TLS (`wss://`)' },
  { port: 8081, scheme: 'http', setting: 'WEIR_COMPAT_PORTS', purpose: 'REST' },
  { port: 8444, scheme: 'https', setting: 'WEIR_COMPAT_PORTS', purpose: 'REST over TLS' },
  { port: 9091, scheme: 'http', setting: 'WEIR_COMPAT_PORTS', purpose: 'REST, older clients' },
  { port: 8888, scheme: 'https', setting: 'WEIR_COMPAT_PORTS', purpose: 'REST over TLS, older clients' },
];

/**
 * The ports to listen on, each once. All of them serve everything; without a certificate there is no TLS port.
 */
export function listeningPorts(ports: PublicPorts, compat: CompatPorts, tls: boolean): ListeningPort[] {
  const wanted: ListeningPort[] = [
    { port: ports.http, scheme: 'http', setting: 'WEIR_HTTP_PORT', purpose: 'HTTP and WebSocket' },
    { port: ports.https, scheme: 'https', setting: 'WEIR_HTTPS_PORT', purpose: 'HTTP and WebSocket over TLS' },
    ...(compat === 'on' ? compatPorts : []),
  ];
  const open = wanted.filter(({ scheme }) => scheme === 'http' || tls);
  return open.filter(
    (entry, index) =>
      entry.port === 0 ||
      entry.setting !== 'WEIR_COMPAT_PORTS' ||
      !open.slice(0, index).some(({ port }) => port === entry.port),
  );
}
