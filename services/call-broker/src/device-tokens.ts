import { ErrorCode, WeirError } from '@weir/contracts';
import { isInRanges, parseToken, verifyToken, type ParsedToken, type TokenRefusal } from '@weir/protocol-topvdn';
import type { App, AppStore } from './app-store.js';

/** The holder of a valid token of a device. */
export interface TokenHolder {
  readonly cid: number;
  /** The app that the device belongs to. */
  readonly app: App;
  readonly token: ParsedToken;
}

const WORDS: Readonly<Record<TokenRefusal, string>> = {
  malformed: "This isn't a device's token",
  'wrong-digest': "The token isn't signed with the key of the device's app",
  expired: 'The token has expired; get a new one from the application server',
  'lives-too-long': 'The token expires too late; make one that is valid for a shorter time',
  bound: 'The token is bound to another address, page, object or recording',
};

const refused = (reason: TokenRefusal): WeirError =>
  new WeirError(ErrorCode.UNAUTHENTICATED, WORDS[reason], { reason });

interface TokenOwner {
  readonly cid: number;
  readonly appId: string;
  readonly appKey: string;
}

/** Checks the tokens of devices with the keys of their apps. */
export class DeviceTokens {
  constructor(
    private readonly apps: Pick<AppStore, 'ownerOf' | 'find'>,
    private readonly options: { readonly maxLifetimeS: number },
  ) {}

  /** @throws WeirError UNAUTHENTICATED, saying why */
  async authenticate(text: string, clientIp?: string): Promise<TokenHolder> {
    const reading = parseToken(text);
    if (reading.tag === 'refused') throw refused(reading.reason);
    const { token } = reading;
    const app = await this.apps.ownerOf(token.cid);
    if (app === undefined) throw new WeirError(ErrorCode.UNAUTHENTICATED, 'No app has the device of this token');
    const check = verifyToken(token, app.key, Date.now(), { ...this.options, clientIp });
    if (check.tag === 'refused') throw refused(check.reason);
    return { cid: token.cid, app, token };
  }

  /** The devices whose tokens have ended: their app is gone, has a new key, or has them no longer. */
  async ended(owners: readonly TokenOwner[]): Promise<ReadonlySet<number>> {
    const ids = [...new Set(owners.map(({ appId }) => appId))];
    const apps = new Map(await Promise.all(ids.map(async (id) => [id, await this.apps.find(id)] as const)));
    const isEnded = ({ cid, appId, appKey }: TokenOwner) => {
      const app = apps.get(appId);
      return app?.key !== appKey || !isInRanges(cid, app.ranges);
    };
    return new Set(owners.filter(isEnded).map(({ cid }) => cid));
  }
}
