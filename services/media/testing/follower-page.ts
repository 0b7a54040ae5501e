import { create } from '@bufbuild/protobuf';
import { PlayRequestSchema } from '@weir/contracts';
import { waitFor } from '@weir/testing';
import type { Page } from 'playwright-core';
import type { Stage } from './browser-peer.js';
import type { RecordedCore } from './recorded-core.js';

interface Follower {
  pc: RTCPeerConnection;
}

/** What a page sees of one of its media sections. */
export interface Picture {
  readonly mid: string | null;
  /** The colour in the middle of the picture, as red, green and blue; empty without a picture. */
  readonly pixel: readonly number[];
}

/** A page that follows all videos of a publisher on one connection, and answers the offers that come. */
export class FollowerPage {
  #offers = 0;

  private constructor(
    readonly page: Page,
    private readonly stage: Stage,
    private readonly recorded: RecordedCore,
    private readonly sessionId: string,
  ) {}

  /** @param videos how many sections for video the page offers */
  static async play(stage: Stage, recorded: RecordedCore, sessionId: string, names: readonly string[], videos = 1) {
    const page = await stage.context.newPage();
    await page.goto('about:blank');
    const offerSdp = await page.evaluate(async (count) => {
      const pc = new RTCPeerConnection();
      pc.addTransceiver('audio', { direction: 'recvonly' });
      for (let index = 0; index < count; index++) pc.addTransceiver('video', { direction: 'recvonly' });
      pc.addEventListener('track', ({ track, transceiver }) => {
        if (track.kind !== 'video') return;
        const mid = transceiver.mid ?? '';
        document.querySelector(`video[data-mid="${mid}"]`)?.remove();
        const video = document.createElement('video');
        Object.assign(video, { autoplay: true, muted: true, srcObject: new MediaStream([track]) });
        video.dataset['mid'] = mid;
        document.body.append(video);
      });
      Object.assign(window, { pc });
      await pc.setLocalDescription();
      return pc.localDescription?.sdp ?? '';
    }, videos);
    const [streamName = '', ...furtherStreamNames] = names;
    const answer = await stage.webRtc.play(
      create(PlayRequestSchema, {
        ...{ tenant: 'demo', streamName, furtherStreamNames, sessionId, ownerId: 'owner', offerSdp },
      }),
    );
    const follower = new FollowerPage(page, stage, recorded, sessionId);
    await page.evaluate(
      (sdp) => (window as unknown as Follower).pc.setRemoteDescription({ type: 'answer', sdp }),
      answer.answerSdp,
    );
    return { follower, answer };
  }

  /** Waits for the next offer and returns it. */
  async nextOffer(): Promise<string> {
    const offers = () =>
      this.recorded.told.filter(({ sessionId, what }) => sessionId === this.sessionId && what === 'offer');
    await waitFor(() => offers().length > this.#offers, { what: 'an offer', timeoutMs: 10_000 });
    return offers()[this.#offers++]?.sdp ?? '';
  }

  /** Waits for the next offer and answers it. */
  async follow(): Promise<void> {
    const answer = await this.page.evaluate(
      async (sdp) => {
        const { pc } = window as unknown as Follower;
        await pc.setRemoteDescription({ type: 'offer', sdp });
        await pc.setLocalDescription();
        return pc.localDescription?.sdp ?? '';
      },
      await this.nextOffer(),
    );
    await this.stage.webRtc.answer(this.sessionId, answer);
  }

  /** The pictures of the sections in which something comes. */
  pictures(): Promise<Picture[]> {
    return this.page.evaluate(() => {
      const { pc } = window as unknown as Follower;
      return pc
        .getTransceivers()
        .filter(({ receiver, currentDirection }) => receiver.track.kind === 'video' && currentDirection === 'recvonly')
        .map(({ mid }) => {
          const video = document.querySelector<HTMLVideoElement>(`video[data-mid="${mid ?? ''}"]`);
          if (video === null || video.videoWidth === 0) return { mid, pixel: [] };
          const canvas = document.createElement('canvas');
          canvas.width = video.videoWidth;
          canvas.height = video.videoHeight;
          const drawing = canvas.getContext('2d');
          drawing?.drawImage(video, 0, 0);
          const { data } = drawing?.getImageData(canvas.width >> 1, canvas.height >> 1, 1, 1) ?? { data: [] };
          return { mid, pixel: Array.from(data).slice(0, 3) };
        });
    });
  }
}
