import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { PublishRequestSchema } from '@weir/contracts';
import type { Page } from 'playwright-core';
import type { Stage } from './browser-peer.js';

export type Colour = 'red' | 'green' | 'blue';

interface Cameras {
  pc: RTCPeerConnection;
  /** Makes a video of one colour. */
  film(colour: Colour): MediaStreamTrack;
  /** By the colour of the video. */
  transceivers: Map<Colour, RTCRtpTransceiver>;
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
    colours: readonly Colour[],
    request: MessageInitShape<typeof PublishRequestSchema>,
  ) {
    const page = await stage.context.newPage();
    await page.goto('about:blank');
    const offerSdp = await page.evaluate(async (each) => {
      const film = (colour: Colour) => {
        const canvas = document.createElement('canvas');
        canvas.width = 320;
        canvas.height = 240;
        const drawing = canvas.getContext('2d');
        let tick = 0;
        setInterval(() => {
          if (drawing === null) return;
          drawing.fillStyle = { red: '#ff0000', green: '#00ff00', blue: '#0000ff' }[colour];
          drawing.fillRect(0, 0, 320, 240);
          drawing.fillStyle = '#ffffff';
          drawing.fillRect((tick++ * 3) % 320, 230, 10, 10);
        }, 33);
        const [track] = canvas.captureStream(30).getVideoTracks();
        if (track === undefined) throw new Error('the canvas has no video');
        return track;
      };
      const audio = new AudioContext();
      const tone = audio.createOscillator();
      const output = audio.createMediaStreamDestination();
      tone.connect(output);
      tone.start();
      const pc = new RTCPeerConnection();
      const [sound] = output.stream.getAudioTracks();
      if (sound !== undefined) pc.addTransceiver(sound, { direction: 'sendonly' });
      const transceivers = new Map<Colour, RTCRtpTransceiver>();
      for (const colour of each) transceivers.set(colour, pc.addTransceiver(film(colour), { direction: 'sendonly' }));
      Object.assign(window, { pc, film, transceivers });
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
  async add(colour: Colour) {
    await this.page.evaluate((added) => {
      const { pc, film, transceivers } = window as unknown as Cameras;
      transceivers.set(added, pc.addTransceiver(film(added), { direction: 'sendonly' }));
    }, colour);
    return this.#renegotiate();
  }

  /** Stops sending a camera; its media section stays. */
  async remove(colour: Colour) {
    await this.page.evaluate((removed) => {
      const { pc, transceivers } = window as unknown as Cameras;
      const transceiver = transceivers.get(removed);
      if (transceiver !== undefined) pc.removeTrack(transceiver.sender);
    }, colour);
    return this.#renegotiate();
  }

  /** Sends a removed camera again, in its old section. */
  async bringBack(colour: Colour) {
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
