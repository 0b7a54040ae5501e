import { describe, expect, it } from 'vitest';
import type { CallInput } from './call-machine.js';
import { placesOf, sidesOf } from './call-machine.js';
import { CallTranscript } from './testing/call-transcript.js';

const OPEN: CallInput = { tag: 'open', cid: 2, sdp: 'b' };
const CLAIMED: CallInput = { tag: 'claimed' };
const JOIN: CallInput = { tag: 'join', cid: 1, sdp: 'a' };
const answered = (side: 'caller' | 'callee', sdp: string = side): CallInput => ({ tag: 'answered', side, sdp });
const connected = (side: 'caller' | 'callee', sends = true): CallInput => ({ tag: 'connected', side, sends });
const close = (cid: number): CallInput => ({ tag: 'close', cid });
const takenBy = (caller: number, callee: number): CallInput => ({
  tag: 'taken',
  by: { callId: 'y', caller, callee },
});

describe('a call', () => {
  it('is opened, accepted, joined, established and closed', () => {
    const call = new CallTranscript();
    call.given({ tag: 'rings', cid: 2 }).given(OPEN);
    expect(call.takes()).toEqual(['1: rings 2', 'claim 1 2']);
    call.given(CLAIMED);
    expect(call.takes()).toEqual(['open-media callee b']);
    call.given(answered('callee', 'B'));
    expect(call.takes()).toEqual(['2: opened B', '1: accepted 2']);
    call.given(JOIN).given(answered('caller', 'A'));
    expect(call.takes()).toEqual(['open-media caller a', '1: opened A']);
    call.given(connected('callee'));
    expect(call.takes()).toEqual(['1: media']);
    expect(call.state.tag).toBe('connecting');
    call.given(connected('caller'));
    expect(call.takes()).toEqual(['2: media']);
    expect(call.state.tag).toBe('established');
    call.waits(3_600_000).given(close(2)).given(close(1));
    expect(call.takes()).toEqual(['1: closed closed', 'end closed']);
  });

  it('needs no ringing before it', () => {
    const call = new CallTranscript([]).given(OPEN).given(CLAIMED);
    expect(call.takes()).toEqual(['claim 1 2', 'open-media callee b']);
  });

  it('claims both places in an order that is the same for both directions', () => {
    expect(placesOf(7, 3)).toEqual(placesOf(3, 7));
  });

  it('is established when one side only watches, and tells the other one of no media', () => {
    const call = new CallTranscript().given(OPEN).given(CLAIMED).given(answered('callee')).given(JOIN);
    call.given(answered('caller')).given(connected('callee')).takes();
    call.given(connected('caller', false));
    expect(call.takes()).toEqual([]);
    expect(call.state.tag).toBe('established');
  });
});

describe('ringing', () => {
  it('ends unanswered after its time, for everybody', () => {
    const call = new CallTranscript([2, 3]).waits(59_999);
    expect(call.takes()).toEqual([]);
    expect(call.waits(1).takes()).toEqual([
      '2: stopped-ringing 1 ring-timeout',
      '3: stopped-ringing 1 ring-timeout',
      '1: stopped-ringing 2 ring-timeout',
      'end ring-timeout',
    ]);
  });

  it('is cancelled by the caller', () => {
    expect(new CallTranscript([2, 3]).given(close(1)).takes()).toEqual([
      '2: stopped-ringing 1 cancelled',
      '3: stopped-ringing 1 cancelled',
      'end cancelled',
    ]);
  });

  it('goes on until the last device has declined', () => {
    const call = new CallTranscript([2, 3]).given(close(2)).given(close(9));
    expect(call.takes()).toEqual([]);
    expect(call.given(close(3)).takes()).toEqual(['1: stopped-ringing 3 declined', 'end declined']);
  });

  it("ends when the caller's channel stays away, and goes on when it comes back in time", () => {
    const back = new CallTranscript().given({ tag: 'gone', cid: 1 }).waits(9_999).given({ tag: 'back', cid: 1 });
    expect(back.waits(20_000).takes()).toEqual([]);
    const lost = new CallTranscript().given({ tag: 'gone', cid: 1 }).waits(10_000);
    expect(lost.takes()).toEqual(['2: stopped-ringing 1 channel-lost', 'end channel-lost']);
  });

  it('knows no call yet that could be joined or muted', () => {
    const call = new CallTranscript().given(JOIN).given({ tag: 'mute', cid: 1, muted: { audio: true, video: false } });
    expect(call.takes()).toEqual(['1: refused no-such-call', '1: refused no-such-call']);
  });

  it("can't be answered by the caller itself", () => {
    expect(new CallTranscript().given({ ...OPEN, cid: 1 }).takes()).toEqual(['1: refused no-such-call']);
  });
});

describe('the first answer', () => {
  it('wins; the others hear that it was answered elsewhere', () => {
    const call = new CallTranscript([2, 3, 4])
      .given(OPEN)
      .given({ ...OPEN, cid: 3 })
      .given(CLAIMED);
    expect(call.takes()).toEqual([
      'claim 1 2',
      '3: refused answered-elsewhere',
      '4: stopped-ringing 1 answered-elsewhere',
      'open-media callee b',
    ]);
    expect(call.given({ ...OPEN, cid: 4 }).takes()).toEqual(['4: refused answered-elsewhere']);
  });

  it('of a device that turns out to be busy leaves the call to the next one', () => {
    const call = new CallTranscript([2, 3])
      .given(OPEN)
      .given({ ...OPEN, cid: 3 })
      .given(takenBy(2, 9));
    expect(call.takes()).toEqual(['claim 1 2', '2: refused busy', 'claim 1 3']);
    expect(call.given(CLAIMED).takes()).toEqual(['2: stopped-ringing 1 answered-elsewhere', 'open-media callee b']);
  });

  it('may be given once', () => {
    const call = new CallTranscript().given(OPEN).given(OPEN).given(CLAIMED).given(OPEN);
    expect(call.takes()).toEqual([
      'claim 1 2',
      '2: refused already-open',
      'open-media callee b',
      '2: refused already-open',
    ]);
  });

  it('is busy for somebody who opens the URL long after', () => {
    const call = CallTranscript.in('established', [2])
      .waits(60_000)
      .given({ ...OPEN, cid: 9 });
    expect(call.takes()).toEqual(['9: refused busy']);
  });
});

describe('a device in another call', () => {
  it('is busy: as the caller', () => {
    const call = new CallTranscript([2, 3])
      .given(OPEN)
      .given({ ...OPEN, cid: 3 })
      .given(takenBy(1, 9));
    expect(call.takes()).toEqual([
      'claim 1 2',
      '2: refused busy',
      '3: refused busy',
      '1: stopped-ringing 2 busy',
      'end busy',
    ]);
  });

  it('is busy: as the only callee', () => {
    const call = new CallTranscript([]).given(OPEN).given(takenBy(9, 2));
    expect(call.takes()).toEqual(['claim 1 2', '2: refused busy', 'end busy']);
  });
});

describe('glare', () => {
  it('ends the call that comes second, which passes its open on to the first', () => {
    const call = new CallTranscript([]).given(OPEN).given(takenBy(2, 1));
    expect(call.takes()).toEqual(['claim 1 2', 'pass-open y 2', 'end glare']);
  });

  it("takes the caller's open as its side of the call, so nobody needs to join", () => {
    const call = new CallTranscript([]).given(OPEN).given(CLAIMED).given({ tag: 'open', cid: 1, sdp: 'a' });
    call.given(answered('callee')).given(answered('caller'));
    expect(call.takes()).toEqual([
      'claim 1 2',
      'open-media callee b',
      'open-media caller a',
      '2: opened callee',
      '1: opened caller',
    ]);
  });

  it('keeps the open that comes before the places are claimed', () => {
    const call = new CallTranscript([]).given(OPEN).given({ tag: 'open', cid: 1, sdp: 'a' }).given(CLAIMED);
    expect(call.takes()).toEqual(['claim 1 2', 'open-media callee b', 'open-media caller a']);
  });

  it('counts a late join as a further offer of the same side', () => {
    const call = CallTranscript.in('established').given({ tag: 'open', cid: 1, sdp: 'a' }).given(JOIN);
    expect(call.takes()).toEqual(['1: refused already-open', 'restart-media caller a']);
  });
});

describe('the media of a side', () => {
  it.each(['connecting', 'established'] as const)('end the call when they are lost while it is %s', (tag) => {
    const call = CallTranscript.in(tag).given({ tag: 'media-ended', side: 'caller', cause: 'media-lost' });
    expect(call.takes()).toEqual(['1: closed media-lost', '2: closed media-lost', 'end media-lost']);
  });

  it('must come in time', () => {
    const call = CallTranscript.in('connecting').given(answered('callee')).given(JOIN).given(answered('caller'));
    call.takes();
    expect(call.waits(20_000).takes()).toEqual(['1: closed no-media', '2: closed no-media', 'end no-media']);
  });

  it('never come from a caller that does not join', () => {
    const call = CallTranscript.in('connecting').given(answered('callee')).given(connected('callee'));
    call.takes();
    expect(call.waits(10_000).takes()).toEqual([
      '1: closed join-timeout',
      '2: closed join-timeout',
      'end join-timeout',
    ]);
  });

  it('that the media core refuses end the call', () => {
    const call = CallTranscript.in('connecting').given({ tag: 'refused', side: 'callee', message: 'no' });
    expect(call.takes()).toEqual(['2: refused media', '1: closed refused', 'end refused']);
  });

  it('restart ICE on a further offer, and a refused one changes nothing', () => {
    const call = CallTranscript.in('established').given({ tag: 'join', cid: 2, sdp: 'b2' });
    call.given(answered('callee', 'B2')).given({ ...JOIN, sdp: 'a2' });
    call.given({ tag: 'refused', side: 'caller', message: 'another certificate' });
    expect(call.takes()).toEqual([
      'restart-media callee b2',
      '2: opened B2',
      'restart-media caller a2',
      '1: refused media',
    ]);
    expect(call.state.tag).toBe('established');
  });
});

describe('a channel', () => {
  it.each(['connecting', 'established'] as const)('may be lost for ten seconds while the call is %s', (tag) => {
    const call = CallTranscript.in(tag).given({ tag: 'gone', cid: 2 }).given({ tag: 'gone', cid: 2 }).waits(9_000);
    call.given({ tag: 'back', cid: 2 }).given({ tag: 'back', cid: 2 });
    expect(call.takes()).toEqual(['1: other-away', '1: other-back']);
    expect(call.state.tag).toBe(tag);
  });

  it('that stays away ends the call', () => {
    const call = CallTranscript.in('established').given({ tag: 'gone', cid: 1 }).waits(10_000);
    expect(call.takes()).toEqual([
      '2: other-away',
      '1: closed channel-lost',
      '2: closed channel-lost',
      'end channel-lost',
    ]);
  });
});

describe('mute', () => {
  it('is told to the other side alone, and kept', () => {
    const call = CallTranscript.in('established').given({ tag: 'mute', cid: 2, muted: { audio: true, video: true } });
    expect(call.takes()).toEqual(['1: other-muted audio video']);
    expect(call.state).toMatchObject({ legs: { callee: { muted: { audio: true, video: true } } } });
  });
});

describe('a stranger', () => {
  it.each(['connecting', 'established'] as const)("can't join, mute or close a call that is %s", (tag) => {
    const call = CallTranscript.in(tag)
      .given({ ...JOIN, cid: 9 })
      .given(close(9))
      .given({ tag: 'gone', cid: 9 });
    call.given({ tag: 'mute', cid: 9, muted: { audio: true, video: true } });
    expect(call.takes()).toEqual(['9: refused no-such-call', '9: refused no-such-call']);
  });
});

describe('closing', () => {
  it.each(['claiming', 'connecting', 'established'] as const)('ends a call that is %s once', (tag) => {
    const call = CallTranscript.in(tag).given(close(2)).given(close(2)).given(close(1));
    expect(call.takes().filter((line) => line.startsWith('end'))).toEqual(['end closed']);
  });

  it('while the places are being claimed gives them back', () => {
    const call = CallTranscript.in('claiming').given(close(1)).given(CLAIMED);
    expect(call.takes()).toEqual(['2: refused no-such-call', 'end cancelled', 'release']);
  });

  it('makes the call unknown', () => {
    const call = CallTranscript.in('ended').given(OPEN).given(JOIN).given(close(1)).waits(100_000);
    expect(call.takes()).toEqual(['2: refused no-such-call', '1: refused no-such-call']);
  });
});

describe('a call whose server is gone', () => {
  it('goes on as it was when it was established', () => {
    const call = CallTranscript.in('established');
    const before = call.state;
    expect(call.resumed().takes()).toEqual([]);
    expect(call.state).toEqual(before);
    expect(call.given(close(1)).takes()).toEqual(['2: closed closed', 'end closed']);
  });

  it('gives a device that was away its whole time again, from the moment when it is known to be still away', () => {
    const call = CallTranscript.in('established').given({ tag: 'gone', cid: 2 }).waits(9_000);
    call.resumed().given({ tag: 'gone', cid: 2 }).waits(9_999);
    expect(call.takes()).not.toContain('end channel-lost');
    expect(call.waits(1).takes()).toContain('end channel-lost');
  });

  it('rings on', () => {
    expect(new CallTranscript().waits(30_000).resumed().waits(30_000).takes()).toEqual([]);
  });

  it('ends if an offer waited for its answer', () => {
    expect(CallTranscript.in('connecting').resumed().takes()).toEqual([
      '1: closed shutdown',
      '2: closed shutdown',
      'end shutdown',
    ]);
    expect(CallTranscript.in('claiming').resumed().takes()).toContain('end shutdown');
  });

  it('can be stored as JSON in every state', () => {
    for (const tag of ['ringing', 'claiming', 'connecting', 'established', 'ended'] as const) {
      const { state } = CallTranscript.in(tag);
      expect(JSON.parse(JSON.stringify(state))).toEqual(state);
    }
  });

  it('names its two sides once there are two', () => {
    expect(sidesOf(CallTranscript.in('ringing').state)).toBeUndefined();
    expect(sidesOf(CallTranscript.in('claiming').state)).toEqual({ caller: 1, callee: 2 });
    expect(sidesOf(CallTranscript.in('established').state)).toEqual({ caller: 1, callee: 2 });
  });
});
