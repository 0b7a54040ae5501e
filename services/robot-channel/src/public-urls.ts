/** The URLs under which clients reach the platform. */
export class PublicUrls {
  readonly #base: string;

  /** @param base absolute, with or without a trailing slash */
  constructor(base: string) {
    this.#base = base.replace(/\/+$/, '');
  }

  /** The default camera's URL has no camera name, because the original's players expect it so. */
  hls(robotId: string, camera: string, isDefault: boolean): string {
    return `${this.#base}/videos/${robotId}${isDefault ? '' : `/${camera}`}/index.m3u8`;
  }
}
