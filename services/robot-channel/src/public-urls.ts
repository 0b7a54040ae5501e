/** URLs of the platform as its clients reach it. */
export class PublicUrls {
  readonly #base: string;

  /** @param base absolute; with or without a slash at its end */
  constructor(base: string) {
    this.#base = base.replace(/\/+$/, '');
  }

  /** The default camera has no name in it: that is how the original's players know it. */
  hls(robotId: string, camera: string, isDefault: boolean): string {
    return `${this.#base}/videos/${robotId}${isDefault ? '' : `/${camera}`}/index.m3u8`;
  }
}
