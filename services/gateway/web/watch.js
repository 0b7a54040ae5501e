import Hls from '/hls.js';
import { LiveEdge } from '/live-edge.js';

const FIGURES_INTERVAL_MS = 500;
const RETRY_MS = 1_000;
/** The stream or its server may still be starting. */
const MAX_RETRIES = 15;
const PLAIN_NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}(\/[A-Za-z0-9][A-Za-z0-9_.-]{0,63})?$/;

const REFUSALS = {
  401: 'Log in first, or enter an access token.',
  403: 'You may not watch this stream.',
  404: 'There is no such robot or stream, or it is sending nothing right now.',
  429: 'Too many requests from your address. Try again in a moment.',
};

/** @param {string} id */
function panel(id) {
  const root = document.getElementById(id);
  return {
    root,
    form: root.querySelector('form'),
    button: (action) => root.querySelector(`[data-action="${action}"]`),
    say: (tone, text) => {
      root.querySelector('.state').dataset.tone = tone;
      root.querySelector('.state-text').textContent = text;
    },
    complain: (text) => {
      const problem = root.querySelector('.problem');
      problem.textContent = text;
      problem.hidden = text === '';
    },
  };
}

const watch = panel('watch');
const who = panel('who');
const video = watch.root.querySelector('video');
let token = '';
let playback;

const playlistOf = (name) => `/videos/${PLAIN_NAME.test(name) ? name : `~/${encodeURIComponent(name)}`}/index.m3u8`;

/** Plays one stream, from start to stop. */
class Playback {
  #hls;
  #liveEdge;
  #retries = 0;
  #timers = new Set();
  #over = false;

  constructor(name) {
    this.url = playlistOf(name);
    watch.complain('');
    watch.say('busy', 'Connecting…');
    this.#running(true);
    video.addEventListener('playing', this.#onPlaying);
    video.addEventListener('ended', this.#onEnded);
    if (Hls.isSupported()) this.#playByMediaSource();
    else if (video.canPlayType('application/vnd.apple.mpegurl') !== '') void this.#playNatively();
    else
      this.#end(
        'failed',
        'Failed',
        'This browser can’t play HLS. Use a current version of Chrome, Edge, Firefox or Safari.',
      );
  }

  stop() {
    this.#end('idle', 'Not playing', '');
  }

  #playByMediaSource() {
    // Fragmented MP4 needs no repacking, so a worker would have nothing to do.
    this.#hls = new Hls({
      enableWorker: false,
      lowLatencyMode: true,
      // A stall must not move the player away from the live edge for good: LiveEdge controls the distance.
      liveSyncOnStallIncrease: 0,
      backBufferLength: 30,
      xhrSetup: (xhr, url) => {
        // Segments need no token: the playlist's URLs contain tickets.
        if (token !== '' && new URL(url, location.href).pathname.endsWith('.m3u8'))
          xhr.setRequestHeader('Authorization', `Bearer ${token}`);
      },
    });
    this.#hls.on(Hls.Events.ERROR, (_event, data) => this.#onError(data));
    this.#hls.on(Hls.Events.FRAG_BUFFERED, () => (this.#retries = 0));
    this.#hls.loadSource(this.url);
    this.#hls.attachMedia(video);
    this.#liveEdge = new LiveEdge(this.#hls, video, () => this.#reload());
    this.#play();
    const timer = setInterval(() => this.#showFigures(), FIGURES_INTERVAL_MS);
    this.#timers.add(timer);
  }

  /** Safari on iPhones plays HLS itself and sends no extra headers. */
  async #playNatively() {
    try {
      const query = token === '' ? '' : `?token=${encodeURIComponent(await shortFormOf(token))}`;
      if (this.#over) return;
      video.src = this.url + query;
    } catch (error) {
      this.#end('failed', 'Failed', error.message);
      return;
    }
    video.onerror = () => this.#end('failed', 'Failed', 'The stream can’t be played.');
    this.#play();
  }

  #play() {
    video.play().catch((error) => {
      if (!this.#over && error.name === 'NotAllowedError') watch.complain('Press the play button in the picture.');
    });
  }

  #onError({ fatal, type, response, details }) {
    if (!fatal || this.#over) return;
    const refusal = REFUSALS[response?.code];
    if (refusal !== undefined) this.#end('failed', 'Failed', refusal);
    else if (++this.#retries > MAX_RETRIES) this.#end('failed', 'Failed', `The stream can’t be loaded (${details}).`);
    else if (type === Hls.ErrorTypes.MEDIA_ERROR && this.#retries === 1) this.#reload();
    else {
      watch.say('busy', response?.code === 503 ? 'Waiting for the stream…' : 'Reconnecting…');
      const timer = setTimeout(() => {
        this.#timers.delete(timer);
        this.#reload();
      }, RETRY_MS);
      this.#timers.add(timer);
    }
  }

  /**
   * Loads the stream again and plays it. hls.js' own recovery from media errors stops asking for the playlist; both
   * ways give the element a new source and leave it paused.
   */
  #reload() {
    this.#hls.loadSource(this.url);
    this.#play();
  }

  #onPlaying = () => watch.say('live', 'Playing');
  #onEnded = () => this.#end('idle', 'Ended', 'The stream has ended.');

  #showFigures() {
    const { latency, levels, currentLevel } = this.#hls;
    const level = levels[Math.max(0, currentLevel)];
    const ranges = video.buffered;
    const bufferS = ranges.length === 0 ? 0 : ranges.end(ranges.length - 1) - video.currentTime;
    show({
      resolution: video.videoWidth > 0 ? `${video.videoWidth} × ${video.videoHeight}` : '–',
      latency: latency > 0 ? `${latency.toFixed(1)} s` : '–',
      buffer: `${Math.max(0, bufferS).toFixed(1)} s`,
      codecs: [level?.videoCodec, level?.audioCodec].filter(Boolean).join(', ') || '–',
    });
  }

  #end(tone, state, problem) {
    if (this.#over) return;
    this.#over = true;
    for (const timer of this.#timers) clearTimeout(timer);
    video.removeEventListener('playing', this.#onPlaying);
    video.removeEventListener('ended', this.#onEnded);
    this.#liveEdge?.stop();
    this.#hls?.destroy();
    video.onerror = null;
    video.removeAttribute('src');
    video.load();
    show({});
    watch.say(tone, state);
    watch.complain(problem);
    this.#running(false);
  }

  #running(running) {
    watch.root.classList.toggle('running', running);
    watch.form.elements.name.disabled = running;
    watch.button('start').hidden = running;
    watch.button('stop').hidden = !running;
  }
}

function show(figures) {
  for (const element of watch.root.querySelectorAll('[data-figure]'))
    element.textContent = figures[element.dataset.figure] ?? '–';
}

async function logIn(username, password) {
  const response = await fetch('/auth/', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ username, password }),
  });
  const { err, ret } = await response.json();
  if (err?.ec !== 0) throw new Error(err?.em ?? 'The server can’t be reached right now. Try again later.');
  return ret.token;
}

/** For addresses, where a token is too long: its pass. A key is short already, and has none. */
async function shortFormOf(credential) {
  const headers = { Authorization: `Bearer ${credential}` };
  const response = await fetch('/auth/passes', { method: 'POST', headers });
  if (response.status === 400) return credential;
  if (!response.ok) throw new Error(REFUSALS[response.status] ?? 'The server can’t be asked just now.');
  return (await response.json()).pass;
}

who.form.addEventListener('submit', async (event) => {
  event.preventDefault();
  const { username, password, token: given } = who.form.elements;
  who.complain('');
  try {
    token = given.value.trim() || (await logIn(username.value.trim(), password.value));
    who.say('live', given.value.trim() === '' ? `Logged in as ${username.value.trim()}` : 'Using a token');
  } catch (error) {
    token = '';
    who.say('failed', 'Not logged in');
    who.complain(error.message);
  }
});

watch.form.addEventListener('submit', (event) => {
  event.preventDefault();
  token = who.form.elements.token.value.trim() || token;
  playback?.stop();
  playback = new Playback(watch.form.elements.name.value.trim());
});
watch.button('stop').addEventListener('click', () => playback?.stop());

function readLink() {
  const name = new URLSearchParams(location.hash.slice(1)).get('stream');
  if (name === null) return;
  watch.form.elements.name.value = name;
  watch.button('start').focus();
}
addEventListener('hashchange', readLink);
readLink();
