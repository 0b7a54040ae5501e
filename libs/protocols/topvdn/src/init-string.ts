export interface Endpoint {
  readonly host: string;
  readonly port: number;
}

const servers = (section: string, endpoints: readonly Endpoint[]): readonly string[] => [
  `[${section}]`,
  `Count=${endpoints.length}`,
  ...endpoints.flatMap(({ host, port }, index) => [`IP${index + 1}=${host}`, `Port${index + 1}=${port}`]),
];

/**
 * The text that an SDK gets when it starts its cloud service: INI with CRLF between the lines. The first tracker is the
 * one to try first.
 */
export const initString = (trackers: readonly Endpoint[], logServers: readonly Endpoint[] = []): string =>
  [
    ...['[Config]', 'IsDebug=0', 'LocalBasePort=8200', 'IsCaptureDev=1', 'IsPlayDev=1', 'UdpSendInterval=2'],
    ...servers('Tracker', trackers),
    ...servers('LogServer', logServers),
  ].join('\r\n');

/** The trackers in such a text; empty if there is none in it. */
export const trackersOf = (text: string): readonly Endpoint[] => {
  const [, section = ''] = /\[Tracker\]([^[]*)/.exec(text) ?? [];
  const values = new Map(
    section
      .split(/\r?\n/)
      .map((line) => line.split('='))
      .map(([key = '', value = '']) => [key.trim(), value.trim()]),
  );
  const endpoints: Endpoint[] = [];
  for (let index = 1; values.has(`IP${index}`); index++) {
    const host = values.get(`IP${index}`) ?? '';
    const port = Number(values.get(`Port${index}`));
    if (host !== '' && Number.isInteger(port) && port > 0 && port <= 65_535) endpoints.push({ host, port });
  }
  return endpoints;
};
