const STEP_MS = 200;
/** With less than this in the buffer, the player doesn't speed up. */
const LEAST_AHEAD_S = 0.3;
/** If it is further behind than this, the player speeds up until it is almost (NEARLY_S) where it should be. */
const TOO_FAR_S = 0.06;
const NEARLY_S = 0.02;
/** Pairs of how far it is behind and the speed. At these speeds the browser keeps the pitch, and nobody notices. */
const SPEEDS = [
  [3, 1.25],
  [1, 1.15],
  [0.4, 1.1],
  [0, 1.05],
];
/** If it is further behind than this, the player jumps, because catching up would take too long. */
const JUMP_S = 5;
/** What each stall adds to the distance from the live edge, and what each calm period takes off again. */
const STALL_S = 0.3;
const STEP_CLOSER_S = 0.1;
const MAX_SPARE_S = 3;
/** A player that stalls at that distance too loads whole segments, and stays this many of them behind. */
const SEGMENTS_BEHIND = 2;
/** The length of a calm period. It doubles with each further stall, because the last distance was too small. */
const CALM_MS = 20_000;
const MAX_CALM_MS = 160_000;
/** Two waits within this time count as one stall. */
const SAME_STALL_MS = 1_000;
/** A player that is starting waits once or twice, which says nothing about the network. */
const BEGINNING_MS = 2_000;
/** A picture that has been frozen for this long while the stream goes on won't recover by itself. */
const STUCK_MS = 3_000;
const FRESH_S = 3;
/**
 * After this long without news of the stream, the player won't recover either: the server has given up a lost source.
 */
const DEAF_MS = 15_000;

/**
 * How fast to play. Pure; all times in seconds.
 * @param {{ behind: number, target: number, ahead: number, rate: number }} now `behind`: distance from the live edge;
 *   `target`: the wanted distance; `ahead`: what the buffer holds; `rate`: the current speed
 */
export function nextRate({ behind, target, ahead, rate }) {
  const excess = behind - target;
  if (ahead < LEAST_AHEAD_S || excess <= (rate > 1 ? NEARLY_S : TOO_FAR_S)) return 1;
  return SPEEDS.find(([least]) => excess > least)[1];
}

/**
 * How much further from the live edge than recommended a player stays because it has stalled. Few stalls matter more
 * than a few milliseconds, so it steps back at once and comes closer slowly.
 */
export class Spare {
  seconds = 0;
  #calmMs = CALM_MS;
  #sinceMs = Number.NEGATIVE_INFINITY;
  #stalledMs = Number.NEGATIVE_INFINITY;

  stalled(nowMs) {
    const isNew = nowMs - this.#stalledMs > SAME_STALL_MS;
    this.#stalledMs = this.#sinceMs = nowMs;
    if (!isNew) return;
    if (this.seconds > 0) this.#calmMs = Math.min(MAX_CALM_MS, this.#calmMs * 2);
    this.seconds = Math.min(MAX_SPARE_S, this.seconds + STALL_S);
  }

  /** Must be called regularly. */
  calm(nowMs) {
    if (this.seconds === 0 || nowMs - this.#sinceMs < this.#calmMs) return;
    this.#sinceMs = nowMs;
    this.seconds = Math.max(0, this.seconds - STEP_CLOSER_S);
    if (this.seconds < STEP_CLOSER_S / 2) {
      this.seconds = 0;
      this.#calmMs = CALM_MS;
    }
  }
}

/**
 * Keeps an hls.js player of low-latency HLS as close to the live edge as the playlist recommends (PART-HOLD-BACK).
 * hls.js itself speeds up only if the buffer holds more than a second, which never happens this close to the edge, so
 * it would never catch up after the start and after stalls.
 */
export class LiveEdge {
  #hls;
  #video;
  #recover;
  #timer;
  #spare = new Spare();
  #playingSinceMs;
  #lastSeen = 0;
  #movedMs = performance.now();
  #rescues = 0;

  /**
   * The player must have hls.js' default `maxLiveSyncPlaybackRate` of 1, which leaves the speed alone.
   * @param {() => void} recover reloads a stream that won't recover by itself
   */
  constructor(hls, video, recover) {
    this.#hls = hls;
    this.#video = video;
    this.#recover = recover;
    video.addEventListener('waiting', this.#onWaiting);
    this.#timer = setInterval(() => this.#step(), STEP_MS);
  }

  stop() {
    clearInterval(this.#timer);
    this.#video.removeEventListener('waiting', this.#onWaiting);
    this.#setRate(1);
  }

  #onWaiting = () => {
    const isBeginning = !(performance.now() - this.#playingSinceMs > BEGINNING_MS);
    if (isBeginning || this.#video.seeking) return;
    this.#spare.stalled(performance.now());
  };

  #step() {
    const video = this.#video;
    const details = this.#hls.latestLevelDetails;
    this.#rescueIfStuck(details);
    if (!details?.live || !details.partHoldBack || video.paused || video.seeking || video.buffered.length === 0) {
      this.#setRate(1);
      return;
    }
    const nowMs = performance.now();
    this.#playingSinceMs ??= nowMs;
    this.#spare.calm(nowMs);
    const behind = details.edge + details.age - video.currentTime;
    const target = this.#distance(details);
    // Where hls.js jumps to, if it must.
    this.#hls.targetLatency = target;
    const ahead = video.buffered.end(video.buffered.length - 1) - video.currentTime;
    // Where key frames are rare the playlist says where to begin, and a jump past that shows nothing until the next one.
    const canJump = details.startTimeOffset === null && this.#hls.liveSyncPosition !== null;
    if (behind - target > JUMP_S && canJump) {
      video.currentTime = this.#hls.liveSyncPosition;
      this.#setRate(1);
    } else this.#setRate(nextRate({ behind, target, ahead, rate: video.playbackRate }));
  }

  /**
   * How far behind the live edge to play. Part after part is more work than segment after segment: a browser that is too
   * busy for it stalls at any distance.
   */
  #distance(details) {
    const isTooBusy = this.#spare.seconds >= MAX_SPARE_S;
    this.#hls.lowLatencyMode = !isTooBusy;
    const distance = details.partHoldBack + this.#spare.seconds;
    return isTooBusy ? Math.max(distance, SEGMENTS_BEHIND * details.averagetargetduration) : distance;
  }

  /** Tries a jump to the live edge first, then a reload. */
  #rescueIfStuck(details) {
    const video = this.#video;
    const nowMs = performance.now();
    // At a gap in the stream Chromium may show no more pictures while its clock runs on, so this watches the frames.
    const seen = video.videoWidth > 0 ? video.getVideoPlaybackQuality().totalVideoFrames : video.currentTime;
    const hasMoved = seen !== this.#lastSeen;
    if (hasMoved) this.#rescues = 0;
    if (hasMoved || video.paused) this.#movedMs = nowMs;
    this.#lastSeen = seen;
    const goesOn = details?.live === true && details.age < FRESH_S;
    if (!details?.live || nowMs - this.#movedMs < (goesOn ? STUCK_MS : DEAF_MS)) return;
    this.#movedMs = nowMs;
    this.#rescues += 1;
    if (goesOn && this.#rescues === 1 && this.#hls.liveSyncPosition !== null)
      video.currentTime = this.#hls.liveSyncPosition;
    else this.#recover();
  }

  #setRate(rate) {
    if (this.#video.playbackRate !== rate) this.#video.playbackRate = rate;
  }
}
