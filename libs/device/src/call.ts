import {
  ERROR_CODE,
  type Candidate,
  type DeviceRequest,
  type EndCause,
  type IceServers,
  type Quality,
  type TypedEvent,
} from '@weir/protocol-topvdn/channel';
import { qualityBetween, qualitySample, type QualitySample } from './call-quality.js';
import { DeviceError, LOCAL_CODE } from './device-error.js';
import { Emitter } from './emitter.js';
import { BEST_PICTURE, PICTURE_LEVELS, pictureLevelAfter, type PictureLevel } from './picture-level.js';
import type { DeviceSettings } from './settings.js';

export type PeerConnectionConstructor = new (configuration?: RTCConfiguration) => RTCPeerConnection;

/** Which of a side's media are off. */
export interface Muted {
  readonly audio: boolean;
  readonly video: boolean;
}

export type CallState =
  | { readonly tag: 'connecting' }
  | { readonly tag: 'established' }
  /** Media or the connection to the server was lost; both come back by themselves, or the call ends. */
  | { readonly tag: 'reconnecting' }
  | { readonly tag: 'ended'; readonly cause: EndCause };

export interface CallEvents {
  state: CallState;
  /** A track of the other side. */
  track: MediaStreamTrack;
  /** The first media of the other side has arrived at the server: the vendor's `StartPopData`. */
  media: undefined;
  /** The other side has switched its microphone or camera. */
  peerMuted: Muted;
  /** As this device measures it, or as the server tells it. */
  quality: Quality;
  /** One of the media doesn't reach its side, such as a picture without a common codec. `message` is for people. */
  notCarried: { readonly way: 'sent' | 'received'; readonly message: string };
}

/** The sound and picture that a device sends in a call. */
export interface LocalMedia {
  readonly tracks: readonly MediaStreamTrack[];
  /** Ends the tracks; not called for tracks that the application has given. */
  release(): void;
}

interface CallPorts {
  readonly role: 'opener' | 'opened';
  /** Known from the start if another device has accepted the call. */
  readonly acceptedCallId: string | undefined;
  readonly peerCid: number | undefined;
  readonly PeerConnection: PeerConnectionConstructor;
  readonly iceServers: IceServers;
  readonly media: LocalMedia;
  readonly settings: DeviceSettings;
  /** Sends the offer and returns the call's id and the answer. */
  readonly start: (offerSdp: string) => Promise<{ readonly callId: string; readonly answerSdp: string }>;
  readonly restart: (callId: string, offerSdp: string) => Promise<string>;
  readonly tell: (request: DeviceRequest) => void;
  /** Called once, when the call has ended. */
  readonly ended: (call: Call) => void;
}

/** A call of this device. It closes its connection and its media itself when it ends, whoever ended it. */
export class Call extends Emitter<CallEvents> {
  readonly role: 'opener' | 'opened';
  /** Undefined in a call that this device has opened: its URL says whose it is. */
  readonly peerCid: number | undefined;
  readonly peerConnection: RTCPeerConnection;
  /** The tracks of the other side, in the order in which they came. */
  readonly remoteTracks: MediaStreamTrack[] = [];
  readonly #ports: CallPorts;
  /** Set when the server has answered the offer. */
  #callId: string | undefined;
  #state: CallState = { tag: 'connecting' };
  #muted: Muted = { audio: false, video: false };
  #peerMuted: Muted = { audio: false, video: false };
  readonly #playedTracks: MediaStreamTrack[] = [];
  #remoteStream: MediaStream | undefined;
  #unsentCandidates: Candidate[] = [];
  #isChannelUp = true;
  #restarting: Promise<void> | undefined;
  #picture: PictureLevel = BEST_PICTURE;
  #lastSample: QualitySample | undefined;
  #iceTimer: ReturnType<typeof setTimeout> | undefined;
  #giveUpTimer: ReturnType<typeof setTimeout> | undefined;
  #qualityTimer: ReturnType<typeof setInterval> | undefined;

  constructor(ports: CallPorts) {
    super();
    this.#ports = ports;
    this.role = ports.role;
    this.peerCid = ports.peerCid;
    this.peerConnection = new ports.PeerConnection({
      iceServers: ports.iceServers.map(({ urls, ...credentials }) => ({ urls: [...urls], ...credentials })),
      bundlePolicy: 'max-bundle',
    });
  }

  /** Undefined until the server has opened the call. */
  get callId(): string | undefined {
    return this.#callId ?? this.#ports.acceptedCallId;
  }

  get state(): CallState {
    return this.#state;
  }

  get muted(): Muted {
    return this.#muted;
  }

  get peerMuted(): Muted {
    return this.#peerMuted;
  }

  /**
   * The other side's sound and picture, for a `video` element. The picture is in it from its first packet on, because the
   * element plays no sound while it waits for a picture. Undefined where there is no `MediaStream`.
   */
  get remoteStream(): MediaStream | undefined {
    if (this.#remoteStream === undefined && typeof MediaStream !== 'undefined')
      this.#remoteStream = new MediaStream(this.#playedTracks);
    return this.#remoteStream;
  }

  /** Offers this side's media and waits for the answer. The call ends if that fails. @throws DeviceError */
  async start(): Promise<void> {
    const connection = this.peerConnection;
    connection.ontrack = ({ track }) => this.#addTrack(track);
    connection.onicecandidate = ({ candidate }) => this.#sendCandidate(candidate === null ? null : candidate.toJSON());
    connection.oniceconnectionstatechange = () => this.#followIce();
    try {
      this.#addLocalMedia();
      const offerSdp = await this.#offer();
      const { callId, answerSdp } = await this.#ports.start(offerSdp);
      if (this.#isOver()) {
        if (this.#ports.acceptedCallId === undefined) this.#ports.tell({ type: 'close', call_id: callId });
        throw new DeviceError(LOCAL_CODE.noCall, 'The call was closed before it was set up');
      }
      this.#callId = callId;
      for (const candidate of this.#unsentCandidates.splice(0)) this.#sendCandidate(candidate);
      await connection.setRemoteDescription({ type: 'answer', sdp: answerSdp });
      await this.#preferSound();
      if (this.#isOver()) throw new DeviceError(LOCAL_CODE.noCall, 'The call was closed while it was set up');
      this.#qualityTimer = setInterval(() => this.#measureNow(), this.#ports.settings.qualityIntervalMs);
    } catch (error) {
      this.#close(causeOf(error));
      throw error;
    }
  }

  /** Switches the microphone or the camera off or on, and tells the other side. What isn't named stays as it is. */
  mute(change: Partial<Muted>): void {
    this.#muted = { ...this.#muted, ...change };
    for (const track of this.#ports.media.tracks)
      track.enabled = track.kind === 'audio' ? !this.#muted.audio : !this.#muted.video;
    this.#tellMuted();
  }

  /** Ends the call. The other side gets `ConnectionClosed`. */
  close(): void {
    this.#close('closed');
  }

  /** Begins ICE again, because the network of this device has changed. One at a time. */
  restartIce(): Promise<void> {
    this.#restarting ??= this.#restartIce().finally(() => {
      this.#restarting = undefined;
    });
    return this.#restarting;
  }

  /** What the server says about this call. */
  handle(event: Extract<TypedEvent, { type: 'candidate' | 'muted' | 'quality' | 'not-carried' }>): void {
    switch (event.type) {
      case 'candidate':
        // The answer has all candidates that matter; one that doesn't fit the description is none.
        this.peerConnection.addIceCandidate(event.candidate ?? undefined).catch(() => undefined);
        break;
      case 'muted':
        this.#peerMuted = { audio: event.audio, video: event.video };
        this.emit('peerMuted', this.#peerMuted);
        break;
      case 'quality':
        this.emit('quality', {
          ...(event.sent && { sent: event.sent }),
          ...(event.received && { received: event.received }),
        });
        break;
      case 'not-carried':
        this.emit('notCarried', { way: event.way, message: event.message });
        break;
      default:
        event satisfies never;
    }
  }

  /** `StartPopData` has come. */
  mediaArrived(): void {
    this.emit('media', undefined);
  }

  /** The connection to the server was lost. Media may still flow, so the call stays. */
  channelDown(): void {
    this.#isChannelUp = false;
    this.#refreshState();
  }

  /** The connection to the server is back, and the server still has the call. */
  channelUp(peerMuted: Muted): void {
    this.#isChannelUp = true;
    if (peerMuted.audio !== this.#peerMuted.audio || peerMuted.video !== this.#peerMuted.video) {
      this.#peerMuted = peerMuted;
      this.emit('peerMuted', peerMuted);
    }
    if (this.#muted.audio || this.#muted.video) this.#tellMuted();
    if (!this.#isIceConnected()) void this.restartIce();
    this.#refreshState();
  }

  /** The call is over; everything of it is let go. Later calls do nothing. */
  end(cause: EndCause): void {
    if (this.#state.tag === 'ended') return;
    this.#state = { tag: 'ended', cause };
    clearTimeout(this.#iceTimer);
    clearTimeout(this.#giveUpTimer);
    clearInterval(this.#qualityTimer);
    const connection = this.peerConnection;
    connection.ontrack = connection.onicecandidate = connection.oniceconnectionstatechange = null;
    connection.close();
    this.#ports.media.release();
    this.#ports.ended(this);
    this.emit('state', this.#state);
  }

  #close(cause: EndCause): void {
    if (this.#isOver()) return;
    if (this.callId !== undefined) this.#ports.tell({ type: 'close', call_id: this.callId });
    this.end(cause);
  }

  #addTrack(track: MediaStreamTrack): void {
    if (this.remoteTracks.includes(track)) return;
    this.remoteTracks.push(track);
    if (track.kind === 'video' && track.muted)
      track.addEventListener('unmute', () => this.#play(track), { once: true });
    else this.#play(track);
    this.emit('track', track);
  }

  #play(track: MediaStreamTrack): void {
    this.#playedTracks.push(track);
    this.#remoteStream?.addTrack(track);
  }

  /** One section for sound and one for the picture, whatever this device sends: the other side may send both. */
  #addLocalMedia(): void {
    const stream = typeof MediaStream === 'undefined' ? undefined : new MediaStream([...this.#ports.media.tracks]);
    for (const kind of ['audio', 'video'] as const) {
      const track = this.#ports.media.tracks.find((it) => it.kind === kind);
      if (track === undefined) this.peerConnection.addTransceiver(kind, { direction: 'recvonly' });
      else
        this.peerConnection.addTransceiver(track, {
          direction: 'sendrecv',
          ...(stream !== undefined && { streams: [stream] }),
        });
    }
  }

  async #offer(options?: RTCOfferOptions): Promise<string> {
    const offer = await this.peerConnection.createOffer(options);
    await this.peerConnection.setLocalDescription(offer);
    const sdp = this.peerConnection.localDescription?.sdp ?? offer.sdp;
    if (sdp === undefined) throw new DeviceError(LOCAL_CODE.noWebRtc, 'WebRTC made no offer');
    return sdp;
  }

  #sendCandidate(candidate: Candidate): void {
    if (this.#callId === undefined) this.#unsentCandidates.push(candidate);
    else this.#ports.tell({ type: 'candidate', call_id: this.#callId, candidate });
  }

  #tellMuted(): void {
    if (this.#callId !== undefined) this.#ports.tell({ type: 'mute', call_id: this.#callId, ...this.#muted });
  }

  #isIceConnected(): boolean {
    return ['connected', 'completed'].includes(this.peerConnection.iceConnectionState);
  }

  /** Trouble with ICE is no hang-up: it begins again, after a moment in which it may come back by itself. */
  #followIce(): void {
    clearTimeout(this.#iceTimer);
    const { iceGraceMs } = this.#ports.settings;
    const trouble = this.peerConnection.iceConnectionState;
    if (this.#callId !== undefined && (trouble === 'disconnected' || trouble === 'failed'))
      this.#iceTimer = setTimeout(() => void this.restartIce(), trouble === 'failed' ? 0 : iceGraceMs);
    this.#refreshState();
  }

  async #restartIce(): Promise<void> {
    const callId = this.#callId;
    const connection = this.peerConnection;
    if (callId === undefined || this.#isOver()) return;
    try {
      if (this.#isChannelUp) {
        const answerSdp = await this.#ports.restart(callId, await this.#offer({ iceRestart: true }));
        if (!this.#isOver()) await connection.setRemoteDescription({ type: 'answer', sdp: answerSdp });
      }
    } catch {
      // The offer wasn't answered, so it is taken back; the next try comes below.
      if (!this.#isOver() && connection.signalingState === 'have-local-offer')
        await connection.setLocalDescription({ type: 'rollback' });
    }
    if (this.#isOver()) return;
    clearTimeout(this.#iceTimer);
    this.#iceTimer = setTimeout(() => {
      if (!this.#isIceConnected()) void this.restartIce();
    }, this.#ports.settings.iceRetryMs);
  }

  #isOver(): boolean {
    return this.#state.tag === 'ended';
  }

  #refreshState(): void {
    if (this.#state.tag === 'ended') return;
    const isWell = this.#isIceConnected() && this.#isChannelUp;
    const tag = isWell ? 'established' : this.#state.tag === 'connecting' ? 'connecting' : 'reconnecting';
    if (isWell) {
      clearTimeout(this.#giveUpTimer);
      this.#giveUpTimer = undefined;
    } else if (tag === 'reconnecting')
      this.#giveUpTimer ??= setTimeout(() => {
        this.#giveUpTimer = undefined;
        // Without the server, media that flows is proof enough of a call.
        if (!this.#isIceConnected()) this.end('channel-lost');
      }, this.#ports.settings.giveUpAfterMs);
    if (tag === this.#state.tag) return;
    this.#state = { tag };
    this.emit('state', this.#state);
  }

  #measureNow(): void {
    // Statistics that can't be had now are read the next time.
    this.#measure().catch(() => undefined);
  }

  async #measure(): Promise<void> {
    const reports: object[] = [];
    (await this.peerConnection.getStats()).forEach((report: object) => reports.push(report));
    const sample = qualitySample(reports, Date.now());
    const before = this.#lastSample;
    this.#lastSample = sample;
    if (before === undefined || this.#callId === undefined || this.#isOver()) return;
    const quality = qualityBetween(before, sample);
    this.#ports.tell({ type: 'quality', call_id: this.#callId, ...quality });
    this.emit('quality', quality);
    await this.#adaptPicture(quality.sent?.loss ?? 0);
  }

  async #adaptPicture(loss: number): Promise<void> {
    const before = this.#picture.level;
    this.#picture = pictureLevelAfter(this.#picture, loss);
    const limits = PICTURE_LEVELS[this.#picture.level];
    if (this.#picture.level === before || limits === undefined) return;
    await this.#encode('video', { maxBitrate: limits.maxBitrateBps, active: limits.isSent });
  }

  /** The sound goes first where the path is narrow. */
  async #preferSound(): Promise<void> {
    await this.#encode('audio', { priority: 'high', networkPriority: 'high' });
  }

  async #encode(kind: 'audio' | 'video', change: Partial<RTCRtpEncodingParameters>): Promise<void> {
    const sender = this.peerConnection.getSenders().find(({ track }) => track?.kind === kind);
    const parameters = sender?.getParameters?.();
    const encodings = parameters?.encodings ?? [];
    if (sender === undefined || parameters === undefined || encodings.length === 0) return;
    try {
      await sender.setParameters({
        ...parameters,
        encodings: encodings.map((encoding) => ({ ...encoding, ...change })),
      });
    } catch {
      // A sender that can't be limited sends as before.
    }
  }
}

const CAUSES: ReadonlyMap<number, EndCause> = new Map<number, EndCause>([
  [ERROR_CODE.busy, 'busy'],
  [ERROR_CODE.offline, 'unreachable'],
  [ERROR_CODE.answeredElsewhere, 'answered-elsewhere'],
  [ERROR_CODE.glare, 'glare'],
  [ERROR_CODE.declined, 'declined'],
]);

const causeOf = (error: unknown): EndCause =>
  (error instanceof DeviceError ? CAUSES.get(error.code) : undefined) ?? 'closed';
