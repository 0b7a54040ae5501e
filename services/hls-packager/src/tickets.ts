import { createHmac, timingSafeEqual } from 'node:crypto';
import type { ResourceName } from '@weir/hls';

/** The query parameter of a segment's address. */
export const TICKET = 'ticket';
const MAC_BYTES = 16;

const base64url = (text: string): string => Buffer.from(text).toString('base64url');

/**
 * Tickets let players fetch segments without a header or a token. A ticket is valid for one segment and its parts, or
 * for one initialisation segment, of one stream. Segment numbers are never used again, so it is valid as long as its
 * segment exists. It is the same for every viewer and in every playlist, so that addresses don't change.
 */
export class Tickets {
  constructor(private readonly key: Buffer) {}

  issue(tenant: string, streamName: string, resource: ResourceName): string {
    return `${base64url(tenant)}.${this.#mac(tenant, streamName, resource).toString('base64url')}`;
  }

  /** The tenant that the ticket claims. This isn't verified. */
  static tenantOf(ticket: string): string | undefined {
    const [encoded = '', mac, ...more] = ticket.split('.');
    if (mac === undefined || more.length > 0 || ticket.length > 512) return undefined;
    const tenant = Buffer.from(encoded, 'base64url').toString();
    return tenant !== '' && base64url(tenant) === encoded ? tenant : undefined;
  }

  verify(ticket: string, tenant: string, streamName: string, resource: ResourceName): boolean {
    const given = Buffer.from(ticket);
    const issued = Buffer.from(this.issue(tenant, streamName, resource));
    return given.length === issued.length && timingSafeEqual(given, issued);
  }

  #mac(tenant: string, streamName: string, resource: ResourceName): Buffer {
    const what = resource.tag === 'init' ? `init ${resource.initId}` : `segment ${resource.msn}`;
    const text = JSON.stringify([tenant, streamName, what]);
    return createHmac('sha256', this.key).update(text).digest().subarray(0, MAC_BYTES);
  }
}
