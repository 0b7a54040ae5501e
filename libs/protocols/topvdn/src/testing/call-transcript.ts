import {
  callDeadlineMs,
  newCall,
  resumedCall,
  stepCall,
  type CallEffect,
  type CallInput,
  type CallNews,
  type Call,
} from '../call-machine.js';

const START_MS = 1_700_000_000_000;

const words = (news: CallNews): string => {
  switch (news.tag) {
    case 'opened':
      return `opened ${news.sdp}`;
    case 'accepted':
      return `accepted ${news.callee}`;
    case 'closed':
      return `closed ${news.cause}`;
    case 'rings':
      return `rings ${news.cid}`;
    case 'stopped-ringing':
      return `stopped-ringing ${news.cid} ${news.cause}`;
    case 'other-muted':
      return `other-muted${news.muted.audio ? ' audio' : ''}${news.muted.video ? ' video' : ''}`;
    case 'refused':
      return `refused ${news.refusal.tag}`;
    case 'media':
    case 'other-away':
    case 'other-back':
      return news.tag;
    default:
      return news satisfies never;
  }
};

const line = (effect: CallEffect): string => {
  switch (effect.tag) {
    case 'tell':
      return `${effect.cid}: ${words(effect.news)}`;
    case 'claim':
      return `claim ${effect.cids.join(' ')}`;
    case 'open-media':
    case 'restart-media':
      return `${effect.tag} ${effect.side} ${effect.sdp}`;
    case 'pass-open':
      return `pass-open ${effect.to} ${effect.cid}`;
    case 'end':
      return `end ${effect.cause}`;
    case 'release':
      return 'release';
    default:
      return effect satisfies never;
  }
};

/** Gives a call its inputs and writes its effects down. 1 is the caller; 2, 3 and 4 are devices that it rings. */
export class CallTranscript {
  state: Call;
  nowMs = START_MS;
  readonly #lines: string[] = [];

  constructor(rung: readonly number[] = [2]) {
    this.state = newCall({ callId: 'x', caller: 1, rung }, this.nowMs);
  }

  /** Up to the given state, with nothing written down. */
  static in(tag: Call['tag'], rung?: readonly number[]): CallTranscript {
    const call = new CallTranscript(rung);
    const steps: readonly CallInput[] = [
      { tag: 'open', cid: 2, sdp: 'b' },
      { tag: 'claimed' },
      { tag: 'answered', side: 'callee', sdp: 'B' },
      { tag: 'join', cid: 1, sdp: 'a' },
      { tag: 'answered', side: 'caller', sdp: 'A' },
      { tag: 'connected', side: 'callee', sends: true },
      { tag: 'connected', side: 'caller', sends: true },
      { tag: 'close', cid: 1 },
    ];
    for (const input of steps) {
      if (call.state.tag === tag) break;
      call.given(input);
    }
    call.takes();
    return call;
  }

  given(input: CallInput): this {
    const { state, effects } = stepCall(this.state, input, this.nowMs);
    this.state = state;
    this.#lines.push(...effects.map(line));
    return this;
  }

  resumed(): this {
    const { state, effects } = resumedCall(this.state, this.nowMs);
    this.state = state;
    this.#lines.push(...effects.map(line));
    return this;
  }

  /** Ticks whenever the machine asks for it. */
  waits(durationMs: number): this {
    const endMs = this.nowMs + durationMs;
    while (callDeadlineMs(this.state) <= endMs) {
      this.nowMs = callDeadlineMs(this.state);
      this.given({ tag: 'tick' });
    }
    this.nowMs = endMs;
    return this;
  }

  /** What has happened since it was last asked. */
  takes(): string[] {
    return this.#lines.splice(0);
  }
}
