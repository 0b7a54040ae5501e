import type { ServerMessage } from './messages.js';
import type { Effect, RefusedStream } from './state.js';

/** One step of the machine in progress: its time and the effects so far. */
export class Turn {
  readonly effects: Effect[] = [];

  constructor(readonly nowMs: number) {}

  do(effect: Effect): void {
    this.effects.push(effect);
  }

  send(message: ServerMessage): void {
    this.effects.push({ tag: 'send', message });
  }

  /** @param stream the client's stream that was refused or has failed */
  refuse(what: 'frame' | 'stream' | 'session', reason: string, stream?: RefusedStream): void {
    this.effects.push({ tag: 'refusal', what, reason, ...(stream !== undefined && { stream }) });
  }
}
