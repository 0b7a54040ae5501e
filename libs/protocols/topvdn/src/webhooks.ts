// Hashing is a pure function of its inputs, without I/O and state, so it is allowed in pure code.
// eslint-disable-next-line no-restricted-imports
import { createHash } from 'node:crypto';
import type { z } from 'zod';
import type { MessageFlag } from './delivery-schedule.js';
import type { deviceStateData } from './web-api.js';

/** What an application's server is told by its webhooks. `device-state` and `device-wake-up` have URLs of their own. */
export type WebhookEvent =
  | { readonly event: 'device-state'; readonly data: z.infer<typeof deviceStateData> }
  | {
      readonly event: 'device-message';
      readonly data: {
        /** Base64, as the device has sent it. */
        readonly msg: string;
        readonly from: number;
        readonly to: readonly number[];
        /** UNIX time in seconds. */
        readonly created: number;
      };
    }
  /** weir's own: a message is there for a device that has no connection, or doesn't answer on it. */
  | {
      readonly event: 'device-wake-up';
      readonly data: {
        readonly device: number;
        /** The same for the device, so that it recognizes the message if it comes both ways. */
        readonly id: string;
        readonly from: number;
        /** Base64, as it was pushed. */
        readonly msg: string;
        readonly flag: MessageFlag;
        /** UNIX time in seconds. */
        readonly created: number;
      };
    }
  | { readonly event: 'device-record-clip'; readonly data: { readonly device: number; readonly clip_id: number } };

/** The signature of a body: the hexadecimal MD5 of the app's id, the body and the app's key. */
export const webhookSignature = (appId: string, body: string, appKey: string): string =>
  createHash('md5').update(appId).update(body).update(appKey).digest('hex');

interface SigningApp {
  readonly id: string;
  readonly key: string;
}

/** The headers of a call to a webhook with this body. */
export const webhookHeaders = (
  event: WebhookEvent['event'],
  body: string,
  app: SigningApp,
): Readonly<Record<string, string>> => ({
  'content-type': 'application/json',
  'user-agent': 'Topvdn',
  'x-app-id': app.id,
  'x-topvdn-event': event,
  'x-event-sign': webhookSignature(app.id, body, app.key),
});

/** The body and headers of a call to a webhook. The body must be sent byte for byte, because it is signed. */
export const webhookRequest = (
  { event, data }: WebhookEvent,
  app: SigningApp,
): { readonly body: string; readonly headers: Readonly<Record<string, string>> } => {
  const body = JSON.stringify({ event, data });
  return { body, headers: webhookHeaders(event, body, app) };
};
