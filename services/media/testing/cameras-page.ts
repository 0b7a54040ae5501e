import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { PublishRequestSchema } from '@weir/contracts';
import { colouredFilm, type FilmColour } from '@weir/testing';
import type { Page } from 'playwright-core';
import type { Stage } from './browser-peer.js';

interface Cameras {
  pc: RTCPeerConnection;
  readonly film: typeof colouredFilm;
  /** By the colour of the video. */
  transceivers: Map<FilmColour, RTCRtpTransceiver>;
}

/** A page with a microphone and cameras that each see one colour, all on one connection. */
export class CamerasPage {
  private constructor(
    private readonly page: Page,
    private readonly stage: Stage,
    private readonly sessionId: string,
  ) {}

  static async publish(
    stage: Stage,
    sessionId: string,
    colours: readonly FilmColour[],
    request: MessageInitShape<typeof PublishRequestSchema>,
  ) {
    const page = await stage.context.newPage();
    await page.goto('about:blank');
    await page.evaluate(`window.film = ${colouredFilm}`);
    const offerSdp = await page.evaluate(async (each) => {
      const { film } = window as unknown as Cameras;
      const audio = new AudioContext();
      const tone = audio.createOscillator();
      const output = audio.createMediaStreamDestination();
      tone.connect(output);
      tone.start();
      const pc = new RTCPeerConnection();
      const [sound] = output.stream.getAudioTracks();
      if (sound !== undefined) pc.addTransceiver(sound, { direction: 'sendonly' });
      const transceivers = new Map<FilmColour, RTCRtpTransceiver>();
      for (const colour of each) transceivers.set(colour, pc.addTransceiver(film(colour), { direction: 'sendonly' }));
      Object.assign(window, { pc, transceivers });
      await pc.setLocalDescription();
      return pc.localDescription?.sdp ?? '';
    }, colours);
    const answer = await stage.webRtc.publish(
      create(PublishRequestSchema, {
        tenant: 'demo',
        streamName: 'cam',
        sessionId,
        ownerId: 'owner',
        offerSdp,
        ...request,
      }),
    );
    const cameras = new CamerasPage(page, stage, sessionId);
    await cameras.#accept(answer.answerSdp);
    return { cameras, answer };
  }

  /** Adds a camera, as a browser offers it: with a new media section. */
  async add(colour: FilmColour) {
    await this.page.evaluate((added) => {
      const { pc, film, transceivers } = window as unknown as Cameras;
      transceivers.set(added, pc.addTransceiver(film(added), { direction: 'sendonly' }));
    }, colour);
    return this.#renegotiate();
  }

  /** Stops sending a camera; its media section stays. */
  async remove(colour: FilmColour) {
    await this.page.evaluate((removed) => {
      const { pc, transceivers } = window as unknown as Cameras;
      const transceiver = transceivers.get(removed);
      if (transceiver !== undefined) pc.removeTrack(transceiver.sender);
    }, colour);
    return this.#renegotiate();
  }

  /** Sends a removed camera again, in its old section. */
  async bringBack(colour: FilmColour) {
    await this.page.evaluate(async (back) => {
      const { film, transceivers } = window as unknown as Cameras;
      const transceiver = transceivers.get(back);
      await transceiver?.sender.replaceTrack(film(back));
      if (transceiver !== undefined) transceiver.direction = 'sendonly';
    }, colour);
    return this.#renegotiate();
  }

  async restartIce() {
    await this.page.evaluate(() => (window as unknown as Cameras).pc.restartIce());
    return this.#renegotiate();
  }

  offer(): Promise<string> {
    return this.page.evaluate(async () => {
      const { pc } = window as unknown as Cameras;
      await pc.setLocalDescription();
      return pc.localDescription?.sdp ?? '';
    });
  }

  async #renegotiate() {
    const answer = await this.stage.webRtc.renegotiate(this.sessionId, await this.offer());
    await this.#accept(answer.answerSdp);
    return answer;
  }

  #accept(sdp: string): Promise<void> {
    return this.page.evaluate(
      (answer) => (window as unknown as Cameras).pc.setRemoteDescription({ type: 'answer', sdp: answer }),
      sdp,
    );
  }
}
