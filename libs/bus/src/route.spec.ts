import { create } from '@bufbuild/protobuf';
import { ErrorCode, Media, MediaEvents, AuthEvents } from '@weir/contracts';
import { describe, expect, it } from 'vitest';
import { AskShelfRequestSchema, Library, LibraryEvents, Mistakes } from './gen/fixture_pb.js';
import { ownerOf, ownerToken, requestRoute, routeOf, subjectOf } from './route.js';

describe('a route', () => {
  it('holds what the contract says', () => {
    expect(routeOf(Media.method.publish)).toMatchObject({
      tag: 'any',
      name: 'weir.v1.Media.Publish',
      deadlineMs: 8000,
    });
    expect(routeOf(Media.method.play)).toMatchObject({ tag: 'owner', ownerField: { name: 'node_id' } });
    expect(routeOf(MediaEvents.method.sessionChanged)).toMatchObject({
      tag: 'event',
      traced: false,
      ownerField: { name: 'owner_id' },
    });
    expect(routeOf(AuthEvents.method.tokenRevoked)).toEqual({
      tag: 'event',
      traced: true,
      name: 'weir.v1.AuthEvents.TokenRevoked',
      ownerField: undefined,
    });
  });

  it.each([
    ['noOption', 'has no weir.options.v1.method option'],
    ['noDelivery', 'has no delivery'],
    ['noDeadline', 'has no deadline_ms'],
    ['noOwnerField', 'is delivered to an owner and has no owner_field'],
    ['unknownOwnerField', "owner_field room_id isn't a field of weir.fixture.v1.AskShelfRequest"],
    ['numericOwnerField', "owner_field copies isn't a plain string field"],
    ['ownerOfAny', "has an owner_field, but isn't delivered to an owner"],
  ] as const)('refuses the mistake %s', (name, message) => {
    expect(() => routeOf(Mistakes.method[name])).toThrow(message);
    // The second call must throw too.
    expect(() => routeOf(Mistakes.method[name])).toThrow(message);
  });

  it('knows every method of the contract', () => {
    for (const service of [Media, MediaEvents, AuthEvents]) {
      for (const method of service.methods) expect(routeOf(method).name).toBe(`${service.typeName}.${method.name}`);
    }
  });
});

describe('a subject', () => {
  it('begins with its kind', () => {
    expect(subjectOf(routeOf(Library.method.lend))).toBe('call.weir.fixture.v1.Library.Lend');
    expect(subjectOf(routeOf(Library.method.askShelf), 'a-1')).toBe('call.weir.fixture.v1.Library.AskShelf.a-1');
    expect(subjectOf(routeOf(LibraryEvents.method.opened))).toBe('event.weir.fixture.v1.LibraryEvents.Opened');
  });

  it('has one token for each owner, and different tokens for different owners', () => {
    const ids = ['media-1', 'media.1', 'media%2E1', '*', '>', 'a b', 'a\tb', 'ä', 'A_b', '.', '..', '\r\n'];
    const tokens = ids.map(ownerToken);
    for (const token of tokens) expect(token).toMatch(/^[A-Za-z0-9_%-]+$/);
    expect(new Set(tokens).size).toBe(ids.length);
    expect(ownerToken('media-1')).toBe('media-1');
  });

  it("is refused for a request that doesn't name its owner", () => {
    const route = requestRoute(Library.method.askShelf, 'call');
    const request = create(AskShelfRequestSchema, { question: 'who?' });
    expect(() => ownerOf(route, AskShelfRequestSchema, request)).toThrow(
      expect.objectContaining({ code: ErrorCode.INVALID }),
    );
  });
});
