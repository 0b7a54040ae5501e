import {
  acceptance,
  CLOSE,
  closing,
  cloudMessageOf,
  ERROR_CODE,
  mediaStart,
  RecentIds,
  trackersOf,
  type CloudMessage,
  type DeviceEvent,
  type EndCause,
  type RingState,
  type TypedEvent,
} from '@weir/protocol-topvdn/channel';
import { Call, type LocalMedia, type PeerConnectionConstructor } from './call.js';
import { Channel, type SocketConstructor, type StateEvent } from './channel.js';
import { DeviceError, LOCAL_CODE } from './device-error.js';
import { Emitter } from './emitter.js';
import { capturedMedia, givenMedia } from './local-media.js';
import { DEFAULT_SETTINGS, type DeviceSettings } from './settings.js';

/**
 * Hears the messages of the cloud service. A message counts as delivered when the listener has returned, or the promise
 * that it returns is fulfilled.
 */
export type CloudMessageListener = (message: CloudMessage) => void | Promise<void>;

export interface DeviceOptions {
  /** The server's address, http(s) or ws(s). Without it, it is the first tracker of the configuration string. */
  readonly serverUrl?: string;
  /** Where there is none, as in Node before version 22. */
  readonly WebSocket?: SocketConstructor;
  /** Where there is none, as in Node. Without one, a device has messages but no calls. */
  readonly RTCPeerConnection?: PeerConnectionConstructor;
  /** What the device sends in a call; by default its camera and microphone. Asked for each call. */
  readonly localMedia?: () => Promise<MediaStream | readonly MediaStreamTrack[]>;
  /** Whether it joins the calls that others accept by itself; it does unless this is false. */
  readonly autoJoin?: boolean;
  readonly settings?: Partial<DeviceSettings>;
}

export interface OpenOptions {
  /** What this side sends; by default the device's `localMedia`. */
  readonly media?: MediaStream | readonly MediaStreamTrack[];
  /** Records the call. */
  readonly record?: boolean;
}

export interface DeviceEvents {
  /** The device is connected, for the first time or again. */
  online: undefined;
  /** It isn't connected; it comes back by itself unless `stopped` follows. */
  offline: undefined;
  /** The service has ended for good: the same device has started elsewhere, or its token is refused. */
  stopped: { readonly code: number };
  /** A call begins: this device has opened it, or another one has opened this one's URL. */
  call: Call;
  /** Another device rings for a call of this one. */
  ringing: { readonly cid: number };
  /** A ringing has ended without a call between these two devices. */
  stoppedRinging: { readonly cid: number; readonly cause: EndCause };
  /** Calls that ring, as the server knows them at each connection. */
  rings: readonly RingState[];
  /** Something failed that nobody waits for. */
  error: Error;
}

interface Side {
  readonly role: Call['role'];
  readonly callId?: string;
  readonly peerCid?: number | undefined;
}

/** How many messages back a repetition is recognized. */
const REMEMBERED_MESSAGES = 1_000;

/**
 * A device of the cloud service, in the vendor's words: `startCloudService`, `setCloudMessageListener`, `open`, `close`.
 * It stays connected by itself, acknowledges messages, and keeps its calls over changes of the network.
 */
export class Device extends Emitter<DeviceEvents> {
  readonly #options: DeviceOptions;
  readonly #settings: DeviceSettings;
  readonly #calls = new Set<Call>();
  readonly #recentIds = new RecentIds(REMEMBERED_MESSAGES);
  /** Calls whose URL is being opened. */
  readonly #opening = new Set<Promise<unknown>>();
  /** Messages that the application is reading. */
  readonly #delivering = new Set<string>();
  #channel: Channel | undefined;
  #state: StateEvent | undefined;
  #listener: CloudMessageListener | undefined;
  #forgetNetwork: (() => void) | undefined;

  constructor(options: DeviceOptions = {}) {
    super();
    this.#options = options;
    this.#settings = { ...DEFAULT_SETTINGS, ...options.settings };
  }

  /** The device's own id; known when it is online. */
  get cid(): number | undefined {
    return this.#state?.cid;
  }

  /** The calls that haven't ended. */
  get calls(): readonly Call[] {
    return [...this.#calls];
  }

  isOnline(): boolean {
    return this.#channel?.isUp ?? false;
  }

  /**
   * Connects the device and keeps it connected until `stopCloudService`.
   *
   * @param userToken the device's token, or a function that is asked for one before each connection
   * @param configString `init_string` of the Web API; not needed if the options name the server
   * @throws DeviceError if there is no connection in time; the service is then stopped
   */
  async startCloudService(userToken: string | (() => string | Promise<string>), configString = ''): Promise<void> {
    if (this.#channel !== undefined)
      throw new DeviceError(LOCAL_CODE.alreadyStarted, 'The cloud service is started already; stop it first');
    const Socket: SocketConstructor | undefined = this.#options.WebSocket ?? globalThis.WebSocket;
    if (Socket === undefined)
      throw new DeviceError(LOCAL_CODE.notStarted, 'There is no WebSocket; give one in the options of the device');
    const base = channelUrl(this.#options.serverUrl, configString);
    const channel = new Channel({
      Socket,
      url: async () => {
        const token = typeof userToken === 'string' ? userToken : await userToken();
        return `${base}?client_token=${encodeURIComponent(token)}`;
      },
      settings: this.#settings,
      isInCall: () => this.#calls.size > 0,
      listener: {
        up: (state) => this.#up(state),
        down: () => this.#down(),
        ended: (code) => this.#ended(code),
        event: (event) => void this.#read(event),
      },
    });
    this.#channel = channel;
    const { startDeadlineMs } = this.#settings;
    const started = new Promise<void>((resolve, reject) => {
      const deadline = setTimeout(
        () =>
          settle(() => reject(new DeviceError(LOCAL_CODE.notStarted, `No connection within ${startDeadlineMs} ms`))),
        startDeadlineMs,
      );
      const ends = [
        this.on('online', () => settle(resolve)),
        this.on('stopped', ({ code }) =>
          settle(() => reject(new DeviceError(LOCAL_CODE.notStarted, `The server refused the device (${code})`))),
        ),
      ];
      const settle = (outcome: () => void) => {
        clearTimeout(deadline);
        for (const end of ends) end();
        outcome();
      };
    });
    channel.open();
    this.#watchNetwork();
    try {
      await started;
    } catch (error) {
      this.stopCloudService();
      throw error;
    }
  }

  /** Closes all calls and the connection. The service can be started again. */
  stopCloudService(): void {
    for (const call of this.calls) call.close();
    this.#forgetNetwork?.();
    this.#forgetNetwork = undefined;
    const channel = this.#channel;
    this.#channel = undefined;
    channel?.close();
  }

  /** Without a listener no message is acknowledged, so the server keeps them. */
  setCloudMessageListener(listener: CloudMessageListener | undefined): void {
    this.#listener = listener;
  }

  /**
   * Opens the URL of another device: accepts its call. The other device gets `ConnectionAcceptted`.
   *
   * @throws DeviceError with the server's code: busy, offline, answered elsewhere, a refused token …
   */
  async open(url: string, { media, record }: OpenOptions = {}): Promise<Call> {
    const channel = this.#channelOrThrow();
    const opening = this.#begin({ role: 'opener' }, media, async (sdp) => {
      const { call_id, sdp: answerSdp } = await channel.ask(
        { type: 'open', url, sdp, ...(record !== undefined && { record }) },
        'opened',
      );
      return { callId: call_id, answerSdp };
    });
    this.#opening.add(opening);
    try {
      return await opening;
    } finally {
      this.#opening.delete(opening);
    }
  }

  /** Joins a call that another device has accepted; only needed without `autoJoin`. */
  async join(callId: string, peerCid?: number, media?: OpenOptions['media']): Promise<Call> {
    const channel = this.#channelOrThrow();
    return this.#begin({ role: 'opened', callId, peerCid }, media, async (sdp) => {
      const { sdp: answerSdp } = await channel.ask({ type: 'join', call_id: callId, sdp }, 'joined');
      return { callId, answerSdp };
    });
  }

  /** Closes a call, or all. */
  close(call?: Call): void {
    for (const it of call === undefined ? this.calls : [call]) it.close();
  }

  /** Tells the device of the URL that this one rings. */
  async ringing(url: string): Promise<void> {
    await this.#channelOrThrow().ask({ type: 'ringing', url }, 'done');
  }

  /** Refuses the call of the URL. */
  async decline(url: string): Promise<void> {
    await this.#channelOrThrow().ask({ type: 'decline', url }, 'done');
  }

  /** Gives up the calls that this device asked for and that nobody has opened. */
  async cancel(): Promise<void> {
    await this.#channelOrThrow().ask({ type: 'cancel' }, 'done');
  }

  #channelOrThrow(): Channel {
    if (this.#channel === undefined)
      throw new DeviceError(ERROR_CODE.offline, 'The cloud service is not started; call startCloudService first');
    return this.#channel;
  }

  async #begin(
    { role, callId: acceptedCallId, peerCid }: Side,
    given: OpenOptions['media'],
    start: (offerSdp: string) => Promise<{ readonly callId: string; readonly answerSdp: string }>,
  ): Promise<Call> {
    const channel = this.#channelOrThrow();
    const PeerConnection: PeerConnectionConstructor | undefined =
      this.#options.RTCPeerConnection ?? globalThis.RTCPeerConnection;
    if (PeerConnection === undefined)
      throw new DeviceError(LOCAL_CODE.noWebRtc, 'There is no WebRTC; give an RTCPeerConnection in the options');
    const media = await this.#media(given);
    const call = new Call({
      ...{ role, acceptedCallId, peerCid, PeerConnection, media, start, settings: this.#settings },
      iceServers: this.#state?.ice_servers ?? [],
      restart: async (callId, sdp) => (await channel.ask({ type: 'restart', call_id: callId, sdp }, 'restarted')).sdp,
      tell: (request) => channel.tell(request),
      ended: (it) => {
        this.#calls.delete(it);
        channel.pace();
      },
    });
    this.#calls.add(call);
    channel.pace();
    this.emit('call', call);
    await call.start();
    return call;
  }

  async #media(given: OpenOptions['media']): Promise<LocalMedia> {
    if (given !== undefined) return givenMedia(given);
    const { localMedia } = this.#options;
    return localMedia === undefined ? capturedMedia() : givenMedia(await localMedia());
  }

  /** The server's list of calls decides what is still going on. */
  #up(state: StateEvent): void {
    this.#state = state;
    for (const call of this.calls) {
      if (call.callId === undefined) continue;
      const known = state.calls.find(({ call_id }) => call_id === call.callId);
      if (known === undefined) call.end('channel-lost');
      else call.channelUp(known.peer_muted);
    }
    for (const { call_id, cid, role, phase } of state.calls) {
      if (this.calls.some(({ callId }) => callId === call_id)) continue;
      // Accepted while this device was away.
      if (role === 'opened' && phase === 'connecting') void this.#accepted(call_id, cid);
      // Of an earlier life of this device; nothing is left here that could go on.
      else this.#channel?.tell({ type: 'close', call_id });
    }
    this.emit('online', undefined);
    if (state.rings.length > 0) this.emit('rings', state.rings);
    void this.#deliver(cloudMessageOf('Online', '', state.cid));
  }

  #down(): void {
    for (const call of this.calls) call.channelDown();
    this.emit('offline', undefined);
    void this.#deliver(cloudMessageOf('Offline', '', this.cid ?? 0));
  }

  #ended(code: number): void {
    for (const call of this.calls) call.end(code === CLOSE.replaced ? 'closed' : 'channel-lost');
    this.#forgetNetwork?.();
    this.#forgetNetwork = undefined;
    this.#channel = undefined;
    this.emit('stopped', { code });
  }

  async #read(event: DeviceEvent): Promise<void> {
    if ('Name' in event) await this.#readMessage(event);
    else this.#readTyped(event);
  }

  async #readMessage(message: CloudMessage): Promise<void> {
    switch (message.Name) {
      case 'ConnectionAcceptted': {
        const accepted = bodyOf(acceptance, message.Message);
        // The application hears of it first, but however long it takes with it, the other side waits for the media.
        const delivered = this.#deliver(message);
        if (accepted !== undefined && this.#options.autoJoin !== false)
          await this.#accepted(accepted.call_id, accepted.cid);
        await delivered;
        break;
      }
      case 'ConnectionClosed': {
        const closed = bodyOf(closing, message.Message);
        if (closed !== undefined) this.#callOf(closed.call_id)?.end(closed.cause);
        await this.#deliver(message);
        break;
      }
      case 'StartPopData': {
        const started = bodyOf(mediaStart, message.Message);
        if (started !== undefined) this.#callOf(started.call_id)?.mediaArrived();
        await this.#deliver(message);
        break;
      }
      case 'PopMessage':
      case 'PopOffLineMessage':
        await this.#deliver(message);
        break;
      case 'Online':
      case 'Offline':
        // The device knows this itself.
        break;
      default:
        message.Name satisfies never;
    }
  }

  /** Gives a message to the application once, and acknowledges it when the application has it. */
  async #deliver(message: CloudMessage): Promise<void> {
    const { id } = message;
    if (id !== undefined && this.#recentIds.has(id)) {
      this.#channel?.tell({ type: 'ack', id });
      return;
    }
    const listener = this.#listener;
    if (listener === undefined || (id !== undefined && this.#delivering.has(id))) return;
    if (id !== undefined) this.#delivering.add(id);
    try {
      await listener(message);
      if (id === undefined) return;
      this.#recentIds.note(id);
      this.#channel?.tell({ type: 'ack', id });
    } catch (error) {
      // The message isn't acknowledged, so the server sends it again.
      this.emit('error', error instanceof Error ? error : new Error(String(error)));
    } finally {
      if (id !== undefined) this.#delivering.delete(id);
    }
  }

  #readTyped(event: TypedEvent): void {
    switch (event.type) {
      case 'candidate':
      case 'muted':
      case 'quality':
      case 'not-carried':
        this.#callOf(event.call_id)?.handle(event);
        break;
      case 'ringing':
        this.emit('ringing', { cid: event.cid });
        break;
      case 'stopped-ringing':
        this.emit('stoppedRinging', { cid: event.cid, cause: event.cause });
        break;
      case 'error':
        this.emit('error', new DeviceError(event.code, event.message));
        break;
      case 'opened':
      case 'joined':
        // It came too late: the call was given up here.
        if (this.#callOf(event.call_id) === undefined) this.#channel?.tell({ type: 'close', call_id: event.call_id });
        break;
      case 'restarted':
      case 'closed':
      case 'state':
      case 'done':
      case 'pong':
        // Answers that nobody waits for any more.
        break;
      default:
        event satisfies never;
    }
  }

  async #accepted(callId: string, cid: number): Promise<void> {
    // Two devices that open each other's URL at once get one call, perhaps the one that is being opened here.
    await Promise.allSettled([...this.#opening]);
    if (this.#callOf(callId) !== undefined) return;
    try {
      await this.join(callId, cid);
    } catch (error) {
      this.#channel?.tell({ type: 'close', call_id: callId });
      this.emit('error', error instanceof Error ? error : new Error(String(error)));
    }
  }

  #callOf(callId: string): Call | undefined {
    return this.calls.find((call) => call.callId === callId);
  }

  /** A browser knows when its network changes; calls then begin ICE again without waiting for its failure. */
  #watchNetwork(): void {
    if (typeof addEventListener !== 'function') return;
    const changed = () => {
      this.#channel?.hurry();
      for (const call of this.calls) if (this.isOnline()) void call.restartIce();
    };
    addEventListener('online', changed);
    this.#forgetNetwork = () => removeEventListener('online', changed);
  }
}

const channelUrl = (serverUrl: string | undefined, configString: string): string => {
  const [tracker] = trackersOf(configString);
  const isSecure = typeof location !== 'undefined' && location.protocol === 'https:';
  const base =
    serverUrl ??
    (tracker === undefined ? undefined : `${isSecure ? 'wss' : 'ws'}://${inUrl(tracker.host)}:${tracker.port}`);
  if (base === undefined)
    throw new DeviceError(ERROR_CODE.parameter, 'Neither the options nor the configuration string name a server');
  const url = new URL('/v2/device/channel', base);
  url.protocol = url.protocol.replace('http', 'ws');
  return url.href;
};

const inUrl = (host: string): string => (host.includes(':') ? `[${host}]` : host);

interface BodySchema<Body> {
  safeParse(value: unknown): { readonly data?: Body | undefined };
}

const bodyOf = <Body>(schema: BodySchema<Body>, text: string): Body | undefined => {
  try {
    return schema.safeParse(JSON.parse(text)).data;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
};
