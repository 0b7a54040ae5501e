// A moving picture with a clock, and a beep every second, to publish if there is no camera.

const WIDTH = 640;
const HEIGHT = 360;
const FPS = 25;
const BARS = ['#f4f6f8', '#f2c53d', '#35b8c9', '#38a860', '#a558c4', '#d8473f', '#2f5fd0'];
const TONE_HZ = 440;
const BEEP_S = 0.12;

/**
 * @param {string} name shown in the picture
 * @returns {{ media: MediaStream, close: () => void }}
 */
export function openTestPicture(name) {
  const canvas = document.createElement('canvas');
  canvas.width = WIDTH;
  canvas.height = HEIGHT;
  const context = canvas.getContext('2d', { alpha: false });
  let frame = 0;
  const paint = () => draw(context, name, frame++);
  paint();
  // A timer rather than animation frames, which stop when the page is hidden.
  const timer = setInterval(paint, 1_000 / FPS);
  const media = canvas.captureStream(FPS);
  const tone = openTone();
  for (const track of tone.media.getAudioTracks()) media.addTrack(track);
  return {
    media,
    close: () => {
      clearInterval(timer);
      for (const track of media.getTracks()) track.stop();
      tone.close();
    },
  };
}

function draw(context, name, frame) {
  const barWidth = WIDTH / BARS.length;
  BARS.forEach((colour, index) => {
    context.fillStyle = colour;
    context.fillRect(Math.round(index * barWidth), 0, Math.ceil(barWidth), HEIGHT);
  });
  context.fillStyle = '#0d1b26';
  context.fillRect(0, HEIGHT * 0.62, WIDTH, HEIGHT * 0.38);

  // A ball crosses the picture once in four seconds and makes dropped frames visible.
  const phase = (frame % (4 * FPS)) / (4 * FPS);
  context.beginPath();
  context.arc(phase * WIDTH, HEIGHT * 0.31 + Math.sin(phase * Math.PI * 4) * 60, 26, 0, Math.PI * 2);
  context.fillStyle = '#0d1b26';
  context.fill();
  context.lineWidth = 5;
  context.strokeStyle = '#ffffff';
  context.stroke();

  const now = new Date();
  context.fillStyle = '#ffffff';
  context.textBaseline = 'middle';
  context.font = '600 46px ui-monospace, Menlo, Consolas, monospace';
  context.fillText(
    `${now.toTimeString().slice(0, 8)}.${String(now.getMilliseconds()).padStart(3, '0')}`,
    24,
    HEIGHT * 0.75,
  );
  context.font = '22px system-ui, sans-serif';
  context.fillStyle = '#9fd8e6';
  context.fillText(`${name}  ·  frame ${frame}`, 26, HEIGHT * 0.89, WIDTH - 52);
}

function openTone() {
  const audio = new AudioContext();
  const output = audio.createMediaStreamDestination();
  const gain = audio.createGain();
  gain.gain.value = 0;
  const oscillator = audio.createOscillator();
  oscillator.frequency.value = TONE_HZ;
  oscillator.connect(gain).connect(output);
  oscillator.start();
  const beep = () => {
    const start = audio.currentTime + 0.02;
    gain.gain.setValueAtTime(0, start);
    gain.gain.linearRampToValueAtTime(0.2, start + 0.01);
    gain.gain.setValueAtTime(0.2, start + BEEP_S);
    gain.gain.linearRampToValueAtTime(0, start + BEEP_S + 0.01);
  };
  beep();
  const timer = setInterval(beep, 1_000);
  return {
    media: output.stream,
    close: () => {
      clearInterval(timer);
      void audio.close();
    },
  };
}
