import { ErrorCode, WeirError } from '@weir/contracts';
import { isInRanges } from '@weir/protocol-topvdn';
import type { App, AppStore } from './app-store.js';

/** Those of the devices for which the app may act: the ones of its ranges, and those that their owners let it act for. */
export const reached = async (
  apps: Pick<AppStore, 'grantedTo'>,
  app: App,
  cids: readonly number[],
): Promise<ReadonlySet<number>> => {
  const others = cids.filter((cid) => !isInRanges(cid, app.ranges));
  const granted = others.length === 0 ? new Set<number>() : await apps.grantedTo(app.id, others);
  return new Set(cids.filter((cid) => isInRanges(cid, app.ranges) || granted.has(cid)));
};

/** @throws WeirError FORBIDDEN, for devices of others as for devices that don't exist */
export const demandReach = async (
  apps: Pick<AppStore, 'grantedTo'>,
  app: App,
  cids: readonly number[],
): Promise<void> => {
  const mine = await reached(apps, app, cids);
  if (!cids.every((cid) => mine.has(cid))) throw notReached();
};

/** @throws WeirError FORBIDDEN unless the app owns all of the devices */
export const demandOwned = (app: App, cids: readonly number[]): void => {
  if (!cids.every((cid) => isInRanges(cid, app.ranges))) throw notReached();
};

const notReached = (): WeirError => new WeirError(ErrorCode.FORBIDDEN, "Not all of these devices are the app's");
