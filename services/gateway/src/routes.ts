/** Every service that the gateway knows; `WEIR_UPSTREAM_<NAME>` says where it is. */
export const serviceNames = [
  'auth',
  'wcs-signalling',
  'media',
  'robot-channel',
  'relay-push',
  'hls-packager',
  'call-broker',
  'recording',
] as const;
export type ServiceName = (typeof serviceNames)[number];

/** The class of requests that are counted together when one address is limited. */
export type RateClass = 'auth' | 'rest' | 'page' | 'upgrade';

export interface Route {
  /** `/x` is that path alone; `/x/*` is `/x` and everything below it. */
  path: `/${string}`;
  service: ServiceName;
  rate: RateClass;
  /** The service accepts WebSockets here. */
  sockets?: true;
  /** The largest request body; 1 MiB by default. */
  maxBodyBytes?: number;
}

export const DEFAULT_MAX_BODY_BYTES = 1024 * 1024;
/** A device sends a picture of at most 2 MB; the service says so to one that sends a little more. */
const PICTURE_BODY_BYTES = 3 * 1024 * 1024;

/** Which paths belong to which service. No path is below another. */
export const routes: readonly Route[] = [
  { path: '/auth/*', service: 'auth', rate: 'auth' },
  { path: '/auth_v2/*', service: 'auth', rate: 'auth' },
  { path: '/.well-known/jwks.json', service: 'auth', rate: 'rest' },
  { path: '/rest-api/stream/*', service: 'wcs-signalling', rate: 'rest' },
  { path: '/rest-api/connection/*', service: 'wcs-signalling', rate: 'rest' },
  { path: '/rest-api/data/*', service: 'wcs-signalling', rate: 'rest' },
  { path: '/rest-api/pull/*', service: 'relay-push', rate: 'rest' },
  { path: '/channel/*', service: 'robot-channel', rate: 'rest', sockets: true },
  { path: '/stream/*', service: 'hls-packager', rate: 'rest' },
  { path: '/videos/*', service: 'hls-packager', rate: 'page' },
  { path: '/v2/*', service: 'call-broker', rate: 'rest', sockets: true, maxBodyBytes: PICTURE_BODY_BYTES },
  { path: '/calls/*', service: 'call-broker', rate: 'rest' },
  { path: '/api/v2/*', service: 'recording', rate: 'rest', sockets: true },
  { path: '/api/session/*', service: 'recording', rate: 'rest', sockets: true },
  { path: '/recordings/*', service: 'recording', rate: 'page' },
];

/** A WebSocket on a path that no route claims speaks WCS, whose clients connect to any path. */
export const UNCLAIMED_SOCKETS: ServiceName = 'wcs-signalling';

/** The path that a route stands for, without its `/*`. */
export const basePath = ({ path }: Route): string => (path.endsWith('/*') ? path.slice(0, -2) : path);

/** The route that claims a path (without query), or undefined. Percent-encoding makes no difference. */
export function claimant(path: string): Route | undefined {
  const decoded = decodedPath(path);
  return routes.find((route) => {
    const base = basePath(route);
    return decoded === base || (route.path.endsWith('/*') && decoded.startsWith(`${base}/`));
  });
}

function decodedPath(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch (error) {
    if (error instanceof URIError) return path;
    throw error;
  }
}
