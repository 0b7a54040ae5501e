import { describe, expect, it } from 'vitest';
import { Tickets } from './tickets.js';

const tickets = new Tickets(Buffer.alloc(32, 1));
const segment = { tag: 'segment', msn: 12 } as const;

describe('a ticket', () => {
  it('opens a segment and its parts', () => {
    const ticket = tickets.issue('demo', 'r1/front', segment);
    expect(Tickets.tenantOf(ticket)).toBe('demo');
    expect(tickets.verify(ticket, 'demo', 'r1/front', segment)).toBe(true);
    expect(tickets.verify(ticket, 'demo', 'r1/front', { tag: 'part', msn: 12, index: 3 })).toBe(true);
    expect(ticket).toMatch(/^[A-Za-z0-9_.-]+$/);
  });

  it('opens nothing else', () => {
    const ticket = tickets.issue('demo', 'r1/front', segment);
    expect(tickets.verify(ticket, 'demo', 'r1/front', { tag: 'segment', msn: 13 })).toBe(false);
    expect(tickets.verify(ticket, 'demo', 'r1/front', { tag: 'init', initId: 12 })).toBe(false);
    expect(tickets.verify(ticket, 'demo', 'r1/back', segment)).toBe(false);
    expect(tickets.verify(ticket, 'other', 'r1/front', segment)).toBe(false);
    expect(new Tickets(Buffer.alloc(32, 2)).verify(ticket, 'demo', 'r1/front', segment)).toBe(false);
  });

  it('keeps tenant and stream apart', () => {
    const ticket = tickets.issue('a', 'b/c', segment);
    expect(
      tickets.verify(ticket.replace(/^[^.]*/, Buffer.from('a/b').toString('base64url')), 'a/b', 'c', segment),
    ).toBe(false);
  });

  it.each(['', '.', 'x', '..', 'ZGVtbw', 'ZGVtbw.x.y', '.abc', '*.abc', 'Z GVtbw.a', `${'A'.repeat(600)}.x`])(
    'names no tenant if it is malformed: %s',
    (text) => {
      expect(Tickets.tenantOf(text)).toBeUndefined();
    },
  );
});

describe('the signature of an address', () => {
  const signature = tickets.issueSignature('demo', 'calls/1/caller', 1_000);

  it('opens the playlists of its stream until its time', () => {
    expect(tickets.verifySignature(signature, 'calls/1/caller', 999_999)).toBe('demo');
    expect(tickets.verifySignature(signature, 'calls/1/caller', 1_000_000)).toBeUndefined();
    expect(tickets.verifySignature(signature, 'calls/1/callee', 0)).toBeUndefined();
    expect(signature).toMatch(/^[A-Za-z0-9_.-]+$/);
  });

  it('can be neither prolonged nor moved to another tenant nor made from a segment’s ticket', () => {
    const [tenant, , mac] = signature.split('.');
    const other = Buffer.from('other').toString('base64url');
    for (const forged of [
      ...[
        `${tenant}.2000.${mac}`,
        `${other}.1000.${mac}`,
        `${tenant}.01000.${mac}`,
        `${signature}.x`,
        signature.slice(0, -1),
      ],
      ...['', '.', '..', tickets.issue('demo', 'calls/1/caller', segment)],
    ])
      expect(tickets.verifySignature(forged, 'calls/1/caller', 0)).toBeUndefined();
  });
});
