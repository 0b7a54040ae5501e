import type { EndReason, StreamSignal } from '@weir/contracts';
import type { SessionNotifier } from './notifier.js';
import type { Session, SessionIdentity, SessionStatsInit } from './session.js';
import type { Stream, StreamListener } from './stream.js';
import type { SentTrack } from './track.js';

export interface TapOptions {
  identity: SessionIdentity;
  stream: Stream;
  sent: readonly SentTrack[];
  notifier: SessionNotifier;
  onClosed(session: TapSession): void;
}

/** The session of another service that receives a stream's RTP. */
export class TapSession implements Session, StreamListener {
  readonly kind = 'player';
  readonly identity: SessionIdentity;
  readonly stream: Stream;
  readonly connected = true;
  readonly isSilent = false;
  #closed = false;

  constructor(private readonly options: TapOptions) {
    this.identity = options.identity;
    this.stream = options.stream;
  }

  standsOn(): boolean {
    return false; // the session ends with its stream
  }

  end(reason: EndReason): void {
    if (this.#closed) return;
    this.#closed = true;
    this.stream.leave(this);
    for (const track of this.options.sent) track.close();
    this.options.notifier.ended(this.identity, reason, '');
    this.options.onClosed(this);
  }

  onStreamEnded(reason: EndReason): void {
    this.end(reason);
  }

  onVideoSize(width: number, height: number): void {
    this.options.notifier.videoSize(this.identity, width, height);
  }

  onSignal(signal: StreamSignal): void {
    this.options.notifier.signal(this.identity, signal);
  }

  async stats(): Promise<SessionStatsInit> {
    return { sessionId: this.identity.sessionId, videoFps: this.stream.videoFps };
  }
}
