import { type AnnouncedTrack, parseRtspDescription } from '@weir/sdp';
import { describe, expect, it } from 'vitest';
import { accountsOnly, PASSWORD, signedUrlsOnly } from '../testing/access.js';
import { Transcript, type TranscriptEntry, wireBytes } from '../testing/transcript.js';
import { clientDeadlineMs, startClient, stepClient } from './client-machine.js';
import type { ClientConfig, ClientEndReason, ClientInput, ClientStep } from './client-state.js';
import { encodeRequest, encodeResponse, RtspDecoder } from './codec.js';
import type { RtspEvent, RtspResponse } from './messages.js';
import { startServer, stepServer } from './server-machine.js';
import type { HostAnswer, Refusal, ServerConfig, ServerEffect, ServerInput, ServerState } from './server-state.js';
import { parseTransport } from './transport-header.js';
import { parseRtspUrl } from './url.js';

/** How the host of a recorded server connection decided, where it didn't simply accept. */
interface ServerSetting {
  readonly config?: Partial<ServerConfig>;
  readonly access?: 'accounts' | 'signed';
  readonly announce?: Refusal;
  readonly describe?: Refusal;
}

const MD5: Partial<ServerConfig> = { challenges: ['digest-md5'] };
const SERVER_SETTINGS: Readonly<Record<string, ServerSetting>> = {
  'server-ffmpeg-push-tcp': {},
  'server-ffmpeg-push-udp': {},
  'server-ffmpeg-push-busy': { announce: 'busy' },
  'server-ffmpeg-push-signed': { access: 'signed' },
  'server-ffmpeg-play-tcp': {},
  'server-ffmpeg-play-udp': {},
  'server-ffmpeg-play-udp-blocked': {},
  'server-ffmpeg-play-461': { config: { lowers: ['tcp'] } },
  'server-ffmpeg-play-404': { describe: 'not-found' },
  'server-ffmpeg-play-signed': { access: 'signed' },
  'server-ffmpeg-play-basic': { access: 'accounts', config: { challenges: ['basic'] } },
  'server-ffmpeg-play-digest-md5': { access: 'accounts', config: MD5 },
  'server-ffmpeg-play-digest-sha-256-digest-md5': { access: 'accounts' },
  'server-ffmpeg-play-digest-sha-256-digest-md5-basic': {
    access: 'accounts',
    config: { challenges: ['digest-sha-256', 'digest-md5', 'basic'] },
  },
  'server-gstreamer-push-tcp': {},
  'server-gstreamer-push-udp': {},
  'server-gstreamer-push-signed': { access: 'signed' },
  'server-gstreamer-push-digest': { access: 'accounts' },
  'server-gstreamer-play-tcp': {},
  'server-gstreamer-play-udp': {},
  'server-gstreamer-play-signed': { access: 'signed' },
  'server-live555-play-tcp': {},
  'server-live555-play-udp': {},
  'server-live555-play-signed': { access: 'signed' },
  'server-live555-play-digest': { access: 'accounts' },
};

interface ClientSetting {
  readonly config?: Partial<ClientConfig>;
  readonly password?: string;
  readonly ends?: ClientEndReason;
}

const CLIENT_SETTINGS: Readonly<Record<string, ClientSetting>> = {
  'client-gstreamer-tcp': {},
  'client-gstreamer-udp': {},
  'client-gstreamer-digest': { password: PASSWORD },
  'client-gstreamer-basic': { password: PASSWORD },
  'client-gstreamer-keep-alive': { ends: { tag: 'stopped' } },
  'client-gstreamer-wrong-password': { password: 'wrong', ends: { tag: 'unauthorised' } },
  'client-gstreamer-404': { ends: { tag: 'refused', method: 'DESCRIBE', status: 404 } },
  'client-live555-tcp': {},
  'client-live555-udp': { config: { lowers: ['udp'] } },
};

describe('recorded transcripts', () => {
  it('are all replayed', () => {
    const settings = [...Object.keys(SERVER_SETTINGS), ...Object.keys(CLIENT_SETTINGS)];
    expect(Transcript.names().sort()).toEqual(settings.sort());
  });
});

function onlyEvent(entry: TranscriptEntry): RtspEvent {
  const [event, ...others] = new RtspDecoder().push(wireBytes(entry));
  if (!event || others.length > 0) throw new Error(`not one event: ${entry.text}`);
  return event;
}

function responsesIn(entries: readonly TranscriptEntry[]): RtspResponse[] {
  return entries.flatMap((entry) => {
    const event = entry.from === 'server' ? onlyEvent(entry) : undefined;
    return event?.tag === 'response' ? [event] : [];
  });
}

/** Removes the time of the recording from the description's `o=` line. */
function withoutTime(text: string): string {
  return text.replaceAll('\r\n', '\n').replace(/^o=- \d+/m, 'o=- 0');
}

describe('the server machine says to a real client what it said when it was recorded', () => {
  it.each(Object.entries(SERVER_SETTINGS))('%s', (name, setting) => {
    const entries = Transcript.load(name);
    const recorded = entries.filter(({ from }) => from === 'server').map(({ text }) => withoutTime(text));
    const said: string[] = [];
    const host = new RecordedHost(setting, responsesIn(entries));
    for (const entry of entries) {
      if (entry.from !== 'client') continue;
      for (const effect of host.receive(onlyEvent(entry))) {
        if (effect.tag === 'send') said.push(withoutTime(encodeResponse(effect.response).toString('utf8')));
      }
    }
    expect(said).toEqual(recorded);
  });

  it('whatever the pieces in which the bytes arrive', () => {
    for (const name of Object.keys(SERVER_SETTINGS)) {
      const sent = Transcript.load(name).filter(({ from }) => from === 'client');
      const bytes = Buffer.concat(sent.map(wireBytes));
      const decoder = new RtspDecoder();
      const events = [...bytes].flatMap((byte) => decoder.push(Uint8Array.of(byte)));
      expect(events).toEqual(new RtspDecoder().push(bytes));
      expect(events.map(({ tag }) => tag)).toEqual(
        sent.map(({ text }) => (text.startsWith('$') ? 'interleaved' : 'request')),
      );
    }
  });
});

/** Has as many digits as the times in the recordings. */
const NOW_MS = 1_795_000_000_000;

/** Answers effects at once, with the ports and tracks from the recorded answers. */
class RecordedHost {
  #state: ServerState;
  #setting: ServerSetting;
  #responses: RtspResponse[];
  #answered = 0;

  constructor(setting: ServerSetting, responses: RtspResponse[]) {
    this.#setting = setting;
    this.#responses = responses;
    this.#state = startServer({ sessionId: '5E55107', nonce: '0123456789abcdef', ...setting.config }, NOW_MS);
  }

  receive(event: RtspEvent): ServerEffect[] {
    return this.#step({ tag: 'received', event });
  }

  #step(input: ServerInput): ServerEffect[] {
    const { state, effects } = stepServer(this.#state, input, NOW_MS);
    this.#state = state;
    return effects.flatMap((effect) => {
      if (effect.tag === 'send') this.#answered += 1;
      const answer = this.#answer(effect);
      return 'id' in effect && answer ? [effect, ...this.#step({ tag: 'answered', id: effect.id, answer })] : [effect];
    });
  }

  #answer(effect: ServerEffect): HostAnswer | undefined {
    const { access, announce, describe } = this.#setting;
    const recorded = this.#responses[this.#answered];
    switch (effect.tag) {
      case 'authorise': {
        if (access === 'accounts') return accountsOnly(effect, NOW_MS);
        const expiresMs = Number(new URLSearchParams(effect.url.query).get('expires')) * 1000;
        return access === 'signed' ? signedUrlsOnly(effect, expiresMs - 1) : { tag: 'accepted' };
      }
      case 'announce':
        return announce ? { tag: 'refused', refusal: announce } : { tag: 'accepted' };
      case 'describe':
        return describe ? { tag: 'refused', refusal: describe } : describedIn(recorded);
      case 'open-track': {
        const [spec] = parseTransport(recorded?.headers.get('Transport') ?? '');
        return { tag: 'opened', ...spec };
      }
      case 'start-play':
        return { tag: 'play-ready', origins: [] };
      case 'start-record':
        return { tag: 'accepted' };
      default:
        return undefined;
    }
  }
}

function describedIn(response: RtspResponse | undefined): HostAnswer {
  const sdp = parseRtspDescription(response?.body.toString('utf8') ?? '');
  if (sdp.tag === 'malformed') throw new Error(sdp.detail);
  const tracks = sdp.tracks.flatMap(({ kind, ...track }): AnnouncedTrack[] =>
    kind === 'other' ? [] : [{ ...track, kind }],
  );
  return { tag: 'described', sessionName: sdp.sessionName, tracks };
}

describe('the client machine asks of a real server what it asked when it was recorded', () => {
  it.each(Object.entries(CLIENT_SETTINGS))('%s', (name, { config, password, ends }) => {
    const entries = Transcript.load(name);
    const recorded = entries.filter(({ from }) => from === 'client').map(({ text }) => text);
    const url = parseRtspUrl(/^OPTIONS (\S+)/.exec(recorded[0] ?? '')?.[1] ?? '');
    if (!url) throw new Error('the transcript begins with OPTIONS');
    const user = password === undefined ? undefined : { username: 'camera', password };
    const said: string[] = [];
    let nowMs = 0;
    let step = startClient({ url: { ...url, user }, cnonce: 'fedcba9876543210', ...config }, nowMs);
    const take = (input: ClientInput): void => {
      step = stepClient(step.state, input, nowMs);
      for (const answer of perform(step, said, recorded)) take(answer);
    };
    take({ tag: 'connected' });
    for (const entry of entries) {
      if (entry.from === 'server') take({ tag: 'received', event: onlyEvent(entry) });
      else if (said.length < recorded.length && entry.text === recorded[said.length]) {
        // No server message triggers this one: its time has come, or the client is told to stop.
        if (entry.text.startsWith('TEARDOWN')) take({ tag: 'stop' });
        else {
          take({ tag: 'heard' });
          nowMs = clientDeadlineMs(step.state) ?? nowMs;
          take({ tag: 'tick' });
        }
      }
    }
    expect(said).toEqual(recorded);
    const { phase } = step.state;
    expect(phase.tag === 'ended' ? phase.reason : phase.tag).toEqual(ends ?? 'running');
  });
});

/** Notes what is sent and returns what the host would answer. */
function perform({ effects }: ClientStep, said: string[], recorded: readonly string[]): ClientInput[] {
  return effects.flatMap((effect): ClientInput[] => {
    switch (effect.tag) {
      case 'send':
        if (effect.message.tag === 'response') throw new Error('no server asked anything');
        said.push(encodeRequest(effect.message).toString('utf8').replaceAll('\r\n', '\n'));
        return [];
      case 'select-tracks':
        return [{ tag: 'selected', tracks: effect.tracks.map((_, index) => index) }];
      case 'open-ports': {
        const transport = /^Transport: (.*)$/m.exec(recorded[said.length] ?? '')?.[1] ?? '';
        return [{ tag: 'ports-opened', ports: parseTransport(transport)[0]?.clientPorts }];
      }
      default:
        return [];
    }
  });
}
