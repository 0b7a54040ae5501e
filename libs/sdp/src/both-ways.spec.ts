import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { negotiateBothWays, negotiateTalkBack, sentIn, talkIn, type TwoWaySection } from './both-ways.js';
import { codecName } from './negotiation.js';
import { parseOffer } from './offer.js';
import { negotiatePlay } from './play.js';
import type { PublishPreferences } from './publish.js';
import { NoCommonCodecsError } from './sdp-error.js';

const fixture = (name: string) => readFileSync(new URL(`./fixtures/${name}.sdp`, import.meta.url), 'utf8');
const bothWays = (name: string) => fixture(name).replaceAll('a=sendonly', 'a=sendrecv');

const sectionsOf = (sdp: string, preferences?: PublishPreferences): TwoWaySection[] =>
  negotiateBothWays(parseOffer(sdp), preferences).sections;
/** What the client sends and what it gets, in the order of the sections. */
const carried = (sdp: string, preferences?: PublishPreferences): string[] =>
  sectionsOf(sdp, preferences).map((section) => {
    const back = sentIn(section);
    const sent = section.tag === 'receive' ? codecName(section) : '-';
    return `${sent} / ${back === undefined ? '-' : codecName(back)}`;
  });

const VP8: PublishPreferences = { videoCodecs: ['VP8', 'H264'] };

describe('a client that sends and receives on one connection', () => {
  it('gets each medium in the codec in which it sends', () => {
    expect(carried(bothWays('chromium-156-publish'), VP8)).toEqual(['opus / opus', 'VP8 / VP8']);
    expect(carried(bothWays('chromium-156-publish'))).toEqual(['opus / opus', 'H264 / H264']);
    expect(carried(bothWays('firefox-153-publish'))).toEqual(['opus / opus', 'VP8 / VP8']);
  });

  it('gets nothing in a section in which it only sends', () => {
    expect(carried(fixture('chromium-156-publish'), VP8)).toEqual(['opus / -', 'VP8 / -']);
  });

  it('that only receives gets the best common codecs, and needn’t send anything', () => {
    expect(carried(fixture('chromium-156-play'), VP8)).toEqual(['- / opus', '- / VP8']);
    expect(carried(fixture('firefox-153-play'), { videoCodecs: ['H264', 'VP8'] })).toEqual(['- / opus', '- / VP8']);
  });

  it('that sends sound only may see', () => {
    const audioOnly = bothWays('chromium-156-publish').replace(/(m=video[^]*?)a=sendrecv/, '$1a=recvonly');
    expect(carried(audioOnly, VP8)).toEqual(['opus / opus', '- / VP8']);
  });

  it('gets one video in the first of several sections', () => {
    expect(
      carried(bothWays('chromium-156-publish-two-videos'), { ...VP8, videos: 2 }).map((both) => both.split(' / ')[1]),
    ).toEqual(['opus', 'VP8', '-']);
  });

  it('is answered without the extension for the mid, which weir’s packets don’t carry', () => {
    const uris = sectionsOf(bothWays('chromium-156-publish'), VP8).flatMap((section) =>
      section.tag === 'receive' ? section.rtpParameters.headerExtensions.map(({ uri }) => uri) : [],
    );
    expect(uris.length).toBeGreaterThan(0);
    expect(uris).not.toContain('urn:ietf:params:rtp-hdrext:sdes:mid');
  });

  it('keeps the extension where only the mid tells to which section its packets belong', () => {
    const withoutNumbers = bothWays('chromium-156-publish').replaceAll(/a=ssrc[^\r\n]*\r?\n/g, '');
    for (const section of sectionsOf(withoutNumbers, VP8))
      expect(section).toMatchObject({
        tag: 'receive',
        rtpParameters: {
          headerExtensions: expect.arrayContaining([
            expect.objectContaining({ uri: 'urn:ietf:params:rtp-hdrext:sdes:mid' }),
          ]) as unknown,
        },
      });
  });

  it('is refused if it sends only codecs that aren’t wanted', () => {
    const preferences: PublishPreferences = { videoCodecs: [], audioCodecs: [] };
    expect(() => sectionsOf(bothWays('firefox-153-publish'), preferences)).toThrow(NoCommonCodecsError);
  });
});

describe('a publisher that may be talked to', () => {
  const back = (sdp: string) =>
    negotiateTalkBack(parseOffer(sdp), VP8).sections.map((section) => sentIn(section)?.kind);

  it('gets sound where it sends its own, and no picture', () => {
    expect(back(bothWays('chromium-156-publish'))).toEqual(['audio', undefined]);
    expect(back(bothWays('firefox-153-publish'))).toEqual(['audio', undefined]);
  });

  it('gets none if it only sends, or if its sound is not Opus', () => {
    expect(back(fixture('chromium-156-publish'))).toEqual([undefined, undefined]);
    expect(back(bothWays('chromium-156-publish').replaceAll(' opus/48000/2', ' unknown/48000/2'))).not.toContain(
      'audio',
    );
  });

  it('is refused if it sends nothing, as any other publisher', () => {
    expect(() => negotiateTalkBack(parseOffer(fixture('chromium-156-play')))).toThrow('Nothing can be received');
  });
});

describe('a player that talks', () => {
  const opus = { kind: 'audio', mimeType: 'audio/opus', clockRate: 48_000, channels: 2, parameters: {} } as const;
  const said = (sdp: string) => {
    const offer = parseOffer(sdp);
    return talkIn(offer, negotiatePlay(offer, { audio: opus }).sections);
  };
  const talking = bothWays('chromium-156-publish');

  it('is received in the section in which it hears the stream', () => {
    expect(said(talking)).toMatchObject({ tag: 'receive', kind: 'audio', mediaIndex: 0, codec: { name: 'opus' } });
  });

  it('is not received if it only listens', () => {
    expect(said(fixture('chromium-156-play'))).toBeUndefined();
  });
});
