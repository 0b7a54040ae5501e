import { ErrorCode, WeirError } from '@weir/contracts';
import { callRights, hasPlaybackBits, maySend, type Control } from '@weir/protocol-topvdn';
import type { FastifyRequest } from 'fastify';
import type { App, AppStore } from './app-store.js';
import type { DeviceTokens, TokenHolder } from './device-tokens.js';

type WebApiRequest = Pick<FastifyRequest, 'headers' | 'query' | 'ip'>;

/** Finds out who calls the Web API: an application server by its key, or a device by its token. */
export class WebApiCallers {
  constructor(
    private readonly apps: Pick<AppStore, 'authenticate'>,
    private readonly tokens: Pick<DeviceTokens, 'authenticate'>,
  ) {}

  /** @throws WeirError UNAUTHENTICATED */
  async app({ headers }: WebApiRequest): Promise<App> {
    const [id, key] = [headers['x-app-id'], headers['x-app-key']];
    if (typeof id !== 'string' || typeof key !== 'string')
      throw new WeirError(ErrorCode.UNAUTHENTICATED, 'The headers X-APP-ID and X-APP-Key are needed');
    const app = await this.apps.authenticate(id, key);
    if (app === undefined) throw new WeirError(ErrorCode.UNAUTHENTICATED, 'X-APP-ID or X-APP-Key is wrong');
    return app;
  }

  /**
   * The device that calls, by its own token.
   * @throws WeirError UNAUTHENTICATED without a valid token; FORBIDDEN if the token is a viewer's
   */
  async device(request: WebApiRequest): Promise<TokenHolder> {
    const text = sent(request, 'client_token');
    if (text === undefined)
      throw new WeirError(
        ErrorCode.UNAUTHENTICATED,
        "The device's token is needed, in the header X-Client-Token or as client_token=",
      );
    const holder = await this.#holder(request, text);
    if (!isDevicesOwn(holder.token.rights))
      throw new WeirError(ErrorCode.FORBIDDEN, "The token only lets its holder watch the device; use the device's own");
    return holder;
  }

  /**
   * Whoever may see this device: the device itself, another device with the access token of this one, or a viewer.
   * @throws WeirError UNAUTHENTICATED or FORBIDDEN
   */
  async viewerOf(cid: number, request: WebApiRequest): Promise<TokenHolder> {
    const access = sent(request, 'access_token');
    if (access !== undefined) await this.device(request);
    const text = access ?? sent(request, 'client_token');
    if (text === undefined)
      throw new WeirError(
        ErrorCode.UNAUTHENTICATED,
        'A token of the device is needed, in the header X-Client-Token or as client_token=',
      );
    const holder = await this.#holder(request, text);
    if (holder.cid !== cid || !maySeePictures(holder.token.rights))
      throw new WeirError(ErrorCode.FORBIDDEN, "The token doesn't open this device's picture");
    return holder;
  }

  /** The holders of these tokens. @throws WeirError UNAUTHENTICATED if one isn't valid */
  holders(request: WebApiRequest, texts: readonly string[]): Promise<TokenHolder[]> {
    return Promise.all(texts.map((text) => this.#holder(request, text)));
  }

  #holder(request: WebApiRequest, text: string): Promise<TokenHolder> {
    return this.tokens.authenticate(text, request.ip);
  }
}

const HEADERS = { client_token: 'x-client-token', access_token: 'x-access-token' } as const;

const sent = ({ headers, query }: WebApiRequest, name: keyof typeof HEADERS): string | undefined => {
  const inHeader = headers[HEADERS[name]];
  if (typeof inHeader === 'string' && inHeader !== '') return inHeader;
  const inQuery = typeof query === 'object' && query !== null ? Reflect.get(query, name) : undefined;
  return typeof inQuery === 'string' && inQuery !== '' ? inQuery : undefined;
};

/** A word with playback bits that lets nobody push was made for a viewer. */
const isDevicesOwn = (control: Control): boolean => maySend(control) || !hasPlaybackBits(control);

/** A word without playback bits is the device's own. */
const maySeePictures = (control: Control): boolean =>
  !hasPlaybackBits(control) || control.snapshot || (maySend(control) && callRights(control).see);
