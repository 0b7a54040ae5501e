import type { Page } from 'playwright-core';

interface HlsPlayer {
  loadSource(url: string): void;
  attachMedia(element: HTMLMediaElement): void;
  /** The playlist with the player's own times. */
  readonly latestLevelDetails: { live: boolean; edge: number } | null;
}

interface HlsPage {
  Hls: new (options: object) => HlsPlayer;
  hlsPlayer?: HlsPlayer;
}

/** Plays a playlist with hls.js in a new video element of the page, which has the id `hls`. */
export async function playByHls(page: Page, siteUrl: string, url: string, bearer: string): Promise<void> {
  await page.addScriptTag({ url: `${siteUrl}/hls.js` });
  await page.evaluate(
    ([source, token]) => {
      const hlsPage = window as unknown as HlsPage;
      const video = document.createElement('video');
      video.id = 'hls';
      video.muted = true;
      video.autoplay = true;
      document.body.append(video);
      const player = new hlsPage.Hls({
        lowLatencyMode: true,
        xhrSetup: (xhr: XMLHttpRequest) => xhr.setRequestHeader('authorization', `Bearer ${token}`),
      });
      hlsPage.hlsPlayer = player;
      player.loadSource(source);
      player.attachMedia(video);
    },
    [url, bearer] as const,
  );
}

export interface Picture {
  /** In pixels; 0 before the first frame. */
  width: number;
  /** Decoded so far. */
  frames: number;
  /** On the player's timeline, in seconds. */
  positionS: number;
}

/** What the page's first video that matches the selector shows. */
export const pictureOf = (page: Page, selector: string): Promise<Picture> =>
  page.evaluate((videoSelector) => {
    const video = document.querySelector<HTMLVideoElement>(videoSelector);
    return {
      width: video?.videoWidth ?? 0,
      frames: video?.getVideoPlaybackQuality().totalVideoFrames ?? 0,
      positionS: video?.currentTime ?? 0,
    };
  }, selector);

/**
 * Where a playlist that has ended ends on the timeline of the page's player, in seconds; undefined as long as the player
 * doesn't know that it has. hls.js aligns playlists by their dates, so its time 0 need not be the first segment's.
 */
export const endOfPlaylistS = (page: Page): Promise<number | undefined> =>
  page.evaluate(() => {
    const details = (window as unknown as HlsPage).hlsPlayer?.latestLevelDetails;
    return details?.live === false ? details.edge : undefined;
  });
