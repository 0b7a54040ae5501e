import type { ServerMessage } from './messages.js';
import type { Effect } from './state.js';

/** One step of the machine in the making: the time it happens at and what it will have brought about. */
export class Turn {
  readonly effects: Effect[] = [];

  constructor(readonly nowMs: number) {}

  do(effect: Effect): void {
    this.effects.push(effect);
  }

  send(message: ServerMessage): void {
    this.effects.push({ type: 'send', message });
  }

  refuse(what: 'frame' | 'stream' | 'session', reason: string): void {
    this.effects.push({ type: 'refusal', what, reason });
  }
}
