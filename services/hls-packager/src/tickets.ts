import { createHmac, timingSafeEqual } from 'node:crypto';
import type { ResourceName } from '@weir/hls';

/** The query parameter of a segment's address. */
export const TICKET = 'ticket';
/** The query parameter of a signed address of playlists. */
export const SIGNATURE = 'signature';
const MAC_BYTES = 16;

const base64url = (text: string): string => Buffer.from(text).toString('base64url');

const areEqual = (given: string, issued: string): boolean => {
  const [one, other] = [Buffer.from(given), Buffer.from(issued)];
  return one.length === other.length && timingSafeEqual(one, other);
};

/**
 * Tickets let players fetch segments without a header or a token. A ticket is valid for one segment and its parts, or
 * for one initialisation segment, of one stream. Segment numbers are never used again, so it is valid as long as its
 * segment exists. It is the same for every viewer and in every playlist, so that addresses don't change.
 */
export class Tickets {
  constructor(private readonly key: Buffer) {}

  issue(tenant: string, streamName: string, resource: ResourceName): string {
    const what = resource.tag === 'init' ? `init ${resource.initId}` : `segment ${resource.msn}`;
    return `${base64url(tenant)}.${this.#mac(tenant, streamName, what).toString('base64url')}`;
  }

  /** The tenant that the ticket claims. This isn't verified. */
  static tenantOf(ticket: string): string | undefined {
    const [encoded = '', mac, ...more] = ticket.split('.');
    if (mac === undefined || more.length > 0 || ticket.length > 512) return undefined;
    const tenant = Buffer.from(encoded, 'base64url').toString();
    return tenant !== '' && base64url(tenant) === encoded ? tenant : undefined;
  }

  verify(ticket: string, tenant: string, streamName: string, resource: ResourceName): boolean {
    return areEqual(ticket, this.issue(tenant, streamName, resource));
  }

  /** The signature of an address of one stream's playlists that opens until a time. */
  issueSignature(tenant: string, streamName: string, expiresS: number): string {
    const mac = this.#mac(tenant, streamName, `watch ${expiresS}`);
    return `${base64url(tenant)}.${expiresS}.${mac.toString('base64url')}`;
  }

  /** The tenant of a signature that is valid for the stream's playlists now. */
  verifySignature(signature: string, streamName: string, nowMs: number): string | undefined {
    const [encoded = '', expires = '', mac, ...more] = signature.split('.');
    const tenant = more.length === 0 ? Tickets.tenantOf(`${encoded}.${mac ?? ''}`) : undefined;
    if (tenant === undefined || !/^\d{1,12}$/.test(expires) || Number(expires) * 1_000 <= nowMs) return undefined;
    return areEqual(signature, this.issueSignature(tenant, streamName, Number(expires))) ? tenant : undefined;
  }

  #mac(tenant: string, streamName: string, what: string): Buffer {
    const text = JSON.stringify([tenant, streamName, what]);
    return createHmac('sha256', this.key).update(text).digest().subarray(0, MAC_BYTES);
  }
}
