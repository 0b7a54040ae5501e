import { waitFor } from '@weir/testing';
import { MediaStreamTrack as NodeTrack, RTCPeerConnection as NodePeerConnection, RtpHeader, RtpPacket } from 'werift';
import { afterEach, beforeEach, expect, it, onTestFinished } from 'vitest';
import { WebSocket } from 'ws';
import { Device, type PeerConnectionConstructor } from './index.js';
import { FakeServer } from './testing/fake-server.js';

let server: FakeServer;
beforeEach(async () => {
  server = await FakeServer.start();
});
afterEach(() => server.stop());

it('a program in Node calls with the WebRTC that it is given: sound goes both ways', async () => {
  const microphone = new NodeTrack({ kind: 'audio' });
  const device = new Device({
    ...{ serverUrl: server.url, WebSocket },
    RTCPeerConnection: NodePeerConnection as unknown as PeerConnectionConstructor,
    localMedia: async () => [microphone as unknown as MediaStreamTrack],
  });
  onTestFinished(() => device.stopCloudService());
  await device.startCloudService('token-1');
  const opening = device.open('topvdn://10.0.0.1:80?protocolType=1&token=x');

  // The other side, in the place of the media core.
  const { ref, sdp } = await server.requested('open');
  const peer = new NodePeerConnection();
  const voice = new NodeTrack({ kind: 'audio' });
  const heardByPeer: number[] = [];
  peer.ontrack = ({ track }) => track.onReceiveRtp.subscribe(({ payload }) => heardByPeer.push(payload.length));
  await peer.setRemoteDescription({ type: 'offer', sdp });
  const [sound] = peer.getTransceivers();
  sound?.setDirection('sendrecv');
  await sound?.sender.replaceTrack(voice);
  await peer.setLocalDescription(await peer.createAnswer());
  await waitFor(() => peer.iceGatheringState === 'complete', { what: "the peer's candidates" });
  server.send({ type: 'opened', ref, call_id: 'c1', sdp: peer.localDescription?.sdp ?? '' });

  const call = await opening;
  await waitFor(() => call.state.tag === 'established', { what: 'the call' });
  const heard: number[] = [];
  for (const track of call.remoteTracks)
    (track as unknown as NodeTrack).onReceiveRtp.subscribe(({ payload }) => heard.push(payload.length));
  const packetOf = (sequenceNumber: number, size: number) =>
    new RtpPacket(
      new RtpHeader({ payloadType: 96, sequenceNumber, timestamp: sequenceNumber * 960, ssrc: 1 }),
      Buffer.alloc(size),
    );
  let sequenceNumber = 0;
  await waitFor(
    () => {
      microphone.writeRtp(packetOf(++sequenceNumber, 20));
      voice.writeRtp(packetOf(sequenceNumber, 30));
      return heardByPeer.includes(20) && heard.includes(30);
    },
    { what: 'sound in both directions' },
  );
  device.stopCloudService();
  expect(call.state).toEqual({ tag: 'ended', cause: 'closed' });
  await peer.close();
});
