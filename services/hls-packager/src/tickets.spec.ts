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
