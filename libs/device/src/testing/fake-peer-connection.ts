import type { PeerConnectionConstructor } from '../call.js';

interface FakeTrack {
  readonly kind: 'audio' | 'video';
  enabled: boolean;
}

export const fakeTrack = (kind: FakeTrack['kind']): MediaStreamTrack & FakeTrack =>
  ({ kind, enabled: true }) as unknown as MediaStreamTrack & FakeTrack;

class FakeSender {
  #parameters = { encodings: [{}] };

  constructor(readonly track: FakeTrack) {}

  /** How the track is sent now. */
  get encoding(): object {
    return this.#parameters.encodings[0] ?? {};
  }

  getParameters(): { encodings: object[] } {
    return structuredClone(this.#parameters);
  }

  async setParameters(parameters: { encodings: object[] }): Promise<void> {
    this.#parameters = parameters;
  }
}

/** WebRTC without media: it keeps the rules of offers and answers, and a spec moves its states. */
export class FakePeerConnection {
  static made: FakePeerConnection[] = [];
  static readonly Constructor = FakePeerConnection as unknown as PeerConnectionConstructor;

  readonly sections: { kind: string; direction: string }[] = [];
  readonly remoteSdps: string[] = [];
  readonly senders: FakeSender[] = [];
  /** What the statistics say was sent so far, and what of it was lost. */
  packets = { sent: 0, lost: 0 };
  signalingState = 'stable';
  iceConnectionState = 'new';
  isClosed = false;
  localDescription: { sdp: string } | null = null;
  ontrack: ((event: object) => void) | null = null;
  onicecandidate: ((event: object) => void) | null = null;
  oniceconnectionstatechange: (() => void) | null = null;
  #offers = 0;

  constructor(readonly configuration: RTCConfiguration) {
    FakePeerConnection.made.push(this);
  }

  static get last(): FakePeerConnection {
    const last = FakePeerConnection.made.at(-1);
    if (last === undefined) throw new Error('no connection was made');
    return last;
  }

  addTransceiver(track: string | FakeTrack, { direction }: { direction: string }): void {
    this.sections.push({ kind: typeof track === 'string' ? track : track.kind, direction });
    if (typeof track !== 'string') this.senders.push(new FakeSender(track));
  }

  async createOffer(options?: { iceRestart?: boolean }): Promise<object> {
    return { type: 'offer', sdp: `offer ${++this.#offers}${options?.iceRestart ? ' with other ICE' : ''}` };
  }

  async setLocalDescription(description: { type: string; sdp?: string }): Promise<void> {
    this.signalingState = description.type === 'rollback' ? 'stable' : 'have-local-offer';
    if (description.sdp !== undefined) this.localDescription = { sdp: description.sdp };
    if (description.type === 'offer') this.#gather();
  }

  async setRemoteDescription({ sdp }: { sdp: string }): Promise<void> {
    if (this.signalingState !== 'have-local-offer') throw new Error(`an answer in the state ${this.signalingState}`);
    this.signalingState = 'stable';
    this.remoteSdps.push(sdp);
  }

  async addIceCandidate(): Promise<void> {
    throw new Error('the server has no further candidates');
  }

  async getStats(): Promise<Map<string, object>> {
    const { sent, lost } = this.packets;
    return new Map<string, object>([
      ['out', { type: 'outbound-rtp', packetsSent: sent }],
      ['in', { type: 'remote-inbound-rtp', packetsLost: lost }],
    ]);
  }

  getSenders(): readonly FakeSender[] {
    return this.senders;
  }

  close(): void {
    this.isClosed = true;
  }

  ice(state: string): void {
    this.iceConnectionState = state;
    this.oniceconnectionstatechange?.();
  }

  #gather(): void {
    const candidate = { candidate: 'candidate:1', sdpMid: '0', sdpMLineIndex: 0 };
    this.onicecandidate?.({ candidate: { toJSON: () => candidate } });
    this.onicecandidate?.({ candidate: null });
  }
}
