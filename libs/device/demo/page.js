import { Device } from './weir-device.js';

const element = (id) => document.getElementById(id);
const show = (id, isShown) => {
  element(id).hidden = !isShown;
};
const say = (text) => {
  element('status').textContent = text;
};

async function ask(path, body) {
  const response = await fetch(path, body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.message);
  return answer;
}

/** Does what a button is for; the status says what went wrong. */
const on = (id, act) => {
  element(id).addEventListener('click', () => {
    act().catch((error) => say(error.message));
  });
};

let localStream;
const device = new Device({
  localMedia: async () => {
    localStream ??= await navigator.mediaDevices.getUserMedia({ audio: true, video: true });
    element('local').srcObject = localStream;
    return localStream;
  },
});

/** The URL that the other device's server has sent, while it rings. */
let ringingUrl;
let call;

const stopRinging = () => {
  ringingUrl = undefined;
  show('ring', false);
};

device.setCloudMessageListener(async ({ Name, Message }) => {
  if (Name !== 'PopMessage' && Name !== 'PopOffLineMessage') return;
  const text = atob(Message);
  if (!text.startsWith('topvdn://')) return;
  ringingUrl = text;
  show('ring', true);
  say('It rings');
  await device.ringing(text).catch(() => undefined);
});

device.on('ringing', ({ cid }) => {
  if (call === undefined) say(`Device ${cid} rings`);
});
device.on('stoppedRinging', ({ cause }) => {
  stopRinging();
  if (call === undefined) say(`Not any more: ${cause}`);
});
device.on('offline', () => say('Offline; it comes back by itself'));
device.on('online', () => {
  if (call === undefined) say('Online');
});
device.on('error', (error) => say(error.message));

device.on('call', (begun) => {
  call = begun;
  show('talking', true);
  element('remote').srcObject = call.remoteStream;
  call.on('state', (state) => {
    say(state.tag === 'ended' ? `The call has ended: ${state.cause}` : `The call: ${state.tag}`);
    if (state.tag !== 'ended') return;
    call = undefined;
    show('talking', false);
    element('remote').srcObject = element('local').srcObject = null;
    for (const track of localStream?.getTracks() ?? []) track.stop();
    localStream = undefined;
    element('quality').textContent = '';
    element('peer-muted').textContent = '';
  });
  call.on('peerMuted', ({ audio, video }) => {
    const off = [audio && 'microphone off', video && 'camera off'].filter(Boolean);
    element('peer-muted').textContent = off.length === 0 ? '' : `(${off.join(', ')})`;
  });
  call.on('notCarried', ({ way, message }) => {
    say(`${way === 'sent' ? 'The other side doesn’t get' : 'This side doesn’t get'} ${message}`);
  });
  call.on('quality', ({ sent }) => {
    if (sent === undefined) return;
    const rtt = sent.rtt_ms === undefined ? '' : `, ${Math.round(sent.rtt_ms)} ms`;
    element('quality').textContent =
      `(${Math.round(sent.bitrate_bps / 1000)} kbit/s, ${(sent.loss * 100).toFixed(1)} % lost${rtt})`;
  });
});

on('start', async () => {
  const cid = Number(element('own').value);
  const { token, init_string } = await ask('log-in', { cid });
  await device.startCloudService(token, init_string);
  for (const { value } of [...element('own').options].filter((option) => Number(option.value) !== cid))
    element('other').append(new Option(value, value));
  element('own').disabled = element('start').disabled = true;
  show('calling', true);
});

on('call', async () => {
  say('Calling');
  await ask('call', { from: device.cid, to: Number(element('other').value) });
});

on('answer', async () => {
  const url = ringingUrl;
  stopRinging();
  await device.open(url);
});

on('decline', async () => {
  const url = ringingUrl;
  stopRinging();
  say('Declined');
  await device.decline(url);
});

on('hang-up', async () => device.close());

const toggle = (id, kind, name) =>
  on(id, async () => {
    if (call === undefined) return;
    call.mute({ [kind]: !call.muted[kind] });
    element(id).textContent = `${name} ${call.muted[kind] ? 'on' : 'off'}`;
  });
toggle('microphone', 'audio', 'Microphone');
toggle('camera', 'video', 'Camera');

for (const cid of await ask('devices')) element('own').append(new Option(cid, cid));
