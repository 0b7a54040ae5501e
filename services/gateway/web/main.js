import { adviceForError, adviceForPage, adviceForStream } from './advice.js';
import { watchFigures } from './figures.js';
import { openTestPicture } from './test-picture.js';
import { WcsSession } from './wcs.js';

const socketUrl = `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/`;
const HEALTH_INTERVAL_MS = 10_000;

const TEXTS = {
  publish: { idle: 'Not publishing', live: 'Publishing', muteAudio: ['Mute sound', 'Unmute sound'] },
  play: { idle: 'Not playing', live: 'Playing', muteAudio: ['Mute sound', 'Unmute sound'] },
};

/** The controls of one half of the page. */
class Panel {
  constructor(id) {
    this.root = document.getElementById(id);
    this.texts = TEXTS[id];
    this.form = this.root.querySelector('form');
    this.video = this.root.querySelector('video');
    this.problem = this.root.querySelector('.problem');
    this.state = this.root.querySelector('.state');
    this.idle();
  }

  get name() {
    return this.form.elements.name.value.trim();
  }

  set name(name) {
    this.form.elements.name.value = name;
  }

  button(action) {
    return this.root.querySelector(`[data-action="${action}"]`);
  }

  /** @param {'idle' | 'busy' | 'live' | 'failed'} tone */
  say(tone, text) {
    this.state.dataset.tone = tone;
    this.state.querySelector('.state-text').textContent = text;
  }

  complain(text) {
    this.problem.textContent = text;
    this.problem.hidden = text === '';
  }

  figures(figures) {
    for (const element of this.root.querySelectorAll('[data-figure]')) {
      element.textContent = figures?.[element.dataset.figure] ?? '–';
    }
  }

  busy(text) {
    this.complain('');
    this.say('busy', text);
    this.running(true);
  }

  live() {
    this.say('live', this.texts.live);
    this.running(true, true);
  }

  idle() {
    this.say('idle', this.texts.idle);
    this.running(false);
    this.figures(undefined);
    this.video.srcObject = null;
  }

  /** Ended without a failure; the text says by whom. */
  ended(text) {
    this.idle();
    this.say('idle', 'Ended');
    this.complain(text);
  }

  failed(text) {
    this.idle();
    this.say('failed', 'Failed');
    this.complain(text);
  }

  running(running, live = false) {
    this.root.classList.toggle('running', running);
    for (const element of this.form.querySelectorAll('input'))
      element.disabled = running || element.dataset.locked === '1';
    this.button('start').hidden = running;
    this.button('stop').hidden = !running;
    for (const action of ['mute-audio', 'mute-video', 'fullscreen']) {
      const button = this.button(action);
      if (button !== null) button.hidden = !live;
    }
  }

  /** Turns a button into a switch; `change` gets the new state. */
  toggle(action, [off, on], change) {
    const button = this.button(action);
    const set = (pressed) => {
      button.setAttribute('aria-pressed', String(pressed));
      button.textContent = pressed ? on : off;
    };
    button.addEventListener('click', () => {
      const pressed = button.getAttribute('aria-pressed') !== 'true';
      set(pressed);
      change(pressed);
    });
    return set;
  }
}

/**
 * What one panel does from start to stop. Everything that is opened is pushed on `closers` and closed in reverse order,
 * whether the user, the server or a failure ends it.
 */
class Run {
  #closers = [];
  #over = false;
  stream;

  constructor(panel, start) {
    this.panel = panel;
    this.#go(start);
  }

  closer(close) {
    if (this.#over) close();
    else this.#closers.push(close);
  }

  get over() {
    return this.#over;
  }

  stop() {
    if (this.stream !== undefined && !this.stream.ended) this.stream.stop();
    this.#end(() => this.panel.idle());
  }

  async #go(start) {
    try {
      this.panel.busy('Connecting…');
      await start(this);
    } catch (error) {
      this.#end(() => this.panel.failed(adviceForError(error)));
    }
  }

  async connect() {
    const session = await WcsSession.connect({
      url: socketUrl,
      appKey: document.getElementById('app-key').value.trim() || 'defaultApp',
      token: document.getElementById('token').value.trim(),
    });
    this.closer(() => session.close());
    return session;
  }

  follow(stream, onLive) {
    this.stream = stream;
    if (this.#over) {
      stream.stop();
      return;
    }
    this.closer(watchFigures(stream.peer, (figures) => this.panel.figures(figures)));
    const onStatus = () => {
      if (this.#over) return;
      if (!stream.ended) {
        this.panel.live();
        onLive?.();
      } else if (stream.status === 'FAILED' && !stream.info.startsWith('Stopped by')) {
        this.#end(() => this.panel.failed(adviceForStream(stream.info)));
      } else {
        this.#end(() => this.panel.ended(stream.info === '' ? '' : adviceForStream(stream.info)));
      }
    };
    stream.addEventListener('status', onStatus);
    if (stream.status !== 'PENDING') onStatus();
  }

  #end(show) {
    if (this.#over) return;
    this.#over = true;
    for (const close of this.#closers.reverse()) close();
    show();
  }
}

const publishing = new Panel('publish');
const playing = new Panel('play');
let publication;
let playback;

async function openSource(kind, name) {
  if (kind === 'test') return openTestPicture(name);
  const media = await navigator.mediaDevices.getUserMedia({
    audio: true,
    video: { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30 } },
  });
  return {
    media,
    close: () => {
      for (const track of media.getTracks()) track.stop();
    },
  };
}

const share = publishing.root.querySelector('.share');
const setPublishAudio = publishing.toggle('mute-audio', ['Mute sound', 'Unmute sound'], (muted) =>
  publication?.stream?.mute('audio', muted),
);
const setPublishVideo = publishing.toggle('mute-video', ['Hide picture', 'Show picture'], (muted) =>
  publication?.stream?.mute('video', muted),
);
const setPlayAudio = playing.toggle('mute-audio', ['Mute sound', 'Unmute sound'], (muted) => {
  playing.video.muted = muted;
});

publishing.form.addEventListener('submit', (event) => {
  event.preventDefault();
  const { name } = publishing;
  const kind = publishing.form.elements.source.value;
  publication = new Run(publishing, async (run) => {
    if (kind === 'camera') publishing.busy('Opening the camera…');
    const source = await openSource(kind, name);
    run.closer(source.close);
    if (run.over) return;
    publishing.video.srcObject = source.media;
    // With autoplay alone, a muted video starts only when it is in view.
    publishing.video.play().catch((error) => console.warn('No preview:', error.message));
    publishing.busy('Connecting…');
    const session = await run.connect();
    if (run.over) return;
    setPublishAudio(false);
    setPublishVideo(false);
    run.follow(await session.publish(name, source.media), () => {
      const link = `${location.origin}/#play=${encodeURIComponent(name)}`;
      const anchor = share.querySelector('[data-share]');
      anchor.href = link;
      anchor.textContent = link;
      share.hidden = false;
    });
    run.closer(() => (share.hidden = true));
  });
});

playing.form.addEventListener('submit', (event) => {
  event.preventDefault();
  const { name } = playing;
  playback = new Run(playing, async (run) => {
    const session = await run.connect();
    if (run.over) return;
    const stream = await session.play(name);
    // A user's own stream is muted, so that the microphone doesn't pick up the loudspeaker.
    const own = publication !== undefined && !publication.over && publishing.name === name;
    playing.video.muted = own;
    setPlayAudio(own);
    playing.video.srcObject = stream.media;
    const showMuted = () => {
      const { audio, video } = stream.muted;
      const what = [audio && 'sound', video && 'picture'].filter(Boolean).join(' and ');
      playing.say('live', what === '' ? 'Playing' : `Playing, publisher’s ${what} off`);
    };
    stream.addEventListener('muted', showMuted);
    run.follow(stream, () => {
      showMuted();
      playing.video.play().catch(() => {
        // Without a click on this page, browsers play without sound only.
        playing.video.muted = true;
        setPlayAudio(true);
        return playing.video.play();
      });
    });
  });
});

document.getElementById('options').addEventListener('submit', (event) => event.preventDefault());
publishing.button('stop').addEventListener('click', () => publication?.stop());
playing.button('stop').addEventListener('click', () => playback?.stop());
playing.button('fullscreen').addEventListener('click', () => {
  if (playing.video.requestFullscreen !== undefined) void playing.video.requestFullscreen();
  else playing.video.webkitEnterFullscreen?.();
});
publishing.button('copy').addEventListener('click', async ({ currentTarget: button }) => {
  const link = share.querySelector('[data-share]');
  try {
    await navigator.clipboard.writeText(link.href);
    button.textContent = 'Copied';
  } catch {
    // Pages that aren't secure have no clipboard: select the link for the user to copy.
    getSelection()?.selectAllChildren(link);
    button.textContent = 'Selected';
  }
  setTimeout(() => (button.textContent = 'Copy link'), 2_000);
});

const noCamera = adviceForPage();
if (noCamera !== undefined) {
  const notice = document.getElementById('insecure');
  notice.textContent = noCamera;
  notice.hidden = false;
  const [camera, test] = publishing.form.elements.source;
  camera.disabled = true;
  camera.dataset.locked = '1';
  test.checked = true;
}
if (typeof RTCPeerConnection === 'undefined') {
  document.getElementById('no-webrtc').hidden = false;
  for (const panel of [publishing, playing]) panel.button('start').disabled = true;
}

function readLink() {
  const name = new URLSearchParams(location.hash.slice(1)).get('play');
  if (name === null || (playback !== undefined && !playback.over)) return;
  playing.name = name;
  playing.button('start').focus();
}
addEventListener('hashchange', readLink);
readLink();

async function showHealth() {
  const chip = document.getElementById('health');
  const text = document.getElementById('health-text');
  try {
    const response = await fetch('/healthz', { cache: 'no-store' });
    const { services } = await response.json();
    const down = Object.keys(services).filter((service) => services[service].status !== 'ok');
    chip.dataset.state = down.length === 0 ? 'ok' : 'bad';
    text.textContent = down.length === 0 ? 'Server ready' : `Not ready: ${down.join(', ')}`;
  } catch {
    chip.dataset.state = 'bad';
    text.textContent = 'Server not reachable';
  }
}
setInterval(() => {
  if (!document.hidden) void showHealth();
}, HEALTH_INTERVAL_MS);
document.addEventListener('visibilitychange', () => {
  if (!document.hidden) void showHealth();
});
void showHealth();
