const STEP_MS = 200;
/** With less than this in the buffer nothing is sped up. */
const LEAST_AHEAD_S = 0.3;
/** Further behind than so the picture is sped up, until it is nearly where it should be. */
const TOO_FAR_S = 0.06;
const NEARLY_S = 0.02;
/** By how far it is behind: the speed. Below, speech keeps its pitch and nobody notices. */
const SPEEDS = [
  [3, 1.25],
  [1, 1.15],
  [0.4, 1.1],
  [0, 1.05],
];
/** Further behind than so it isn't worth the while. */
const JUMP_S = 12;
/** What a stall adds to the distance from the live edge, and what is given up again after each time of calm. */
const STALL_S = 0.3;
const STEP_CLOSER_S = 0.1;
const MAX_SPARE_S = 3;
/** How long it has to be calm for that: twice as long after each stall, because the last distance was too small. */
const CALM_MS = 20_000;
const MAX_CALM_MS = 160_000;
/** A player that waits twice within this time has stalled once. */
const SAME_STALL_MS = 1_000;
/** A player that begins waits once or twice, which says nothing of the network. */
const BEGINNING_MS = 2_000;
/** A picture that stands still for so long while the stream goes on doesn't come back by itself. */
const STUCK_MS = 3_000;
const FRESH_S = 3;
/** Nor does the player when it no longer hears of the stream: a source that was lost is given up by then. */
const DEAF_MS = 15_000;

/**
 * How fast to play. Pure; all times in seconds.
 * @param {{ behind: number, target: number, ahead: number, rate: number }} now `behind` the live edge, where `target` is
 *   wanted; `ahead` in the buffer; `rate` so far
 */
export function nextRate({ behind, target, ahead, rate }) {
  const excess = behind - target;
  if (ahead < LEAST_AHEAD_S || excess <= (rate > 1 ? NEARLY_S : TOO_FAR_S)) return 1;
  return SPEEDS.find(([least]) => excess > least)[1];
}

/**
 * How much further from the live edge than recommended a player stays for the sake of its stalls. Few stalls come before
 * few milliseconds: it steps back at once, and comes closer slowly.
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

  /** To be called now and then. */
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
 * Keeps an hls.js player of low-latency HLS as close to the live edge as the playlist recommends (PART-HOLD-BACK). hls.js
 * itself speeds up only when more than a second is in the buffer, which this close to the edge never happens, so what
 * the start and each stall have cost would never be made good.
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
   * The player is to have hls.js' default `maxLiveSyncPlaybackRate` of 1, which leaves the speed alone.
   * @param {() => void} recover begins anew what stands still for good
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
    const target = details.partHoldBack + this.#spare.seconds;
    const ahead = video.buffered.end(video.buffered.length - 1) - video.currentTime;
    if (behind - target > JUMP_S && this.#hls.liveSyncPosition !== null) {
      video.currentTime = this.#hls.liveSyncPosition;
      this.#setRate(1);
    } else this.#setRate(nextRate({ behind, target, ahead, rate: video.playbackRate }));
  }

  /** First by a jump to where there surely is something, then by beginning anew. */
  #rescueIfStuck(details) {
    const video = this.#video;
    const nowMs = performance.now();
    // At a hole in the stream Chromium may show no further picture while its clock runs on: frames count, not the time.
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
