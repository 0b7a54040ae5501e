/**
 * A camera whose picture shows the time (see picture-clock.ts). It sends 30 raw pictures per second to one ffmpeg,
 * which encodes them once, with a key frame every second, and writes the same stream to every output. The arguments are
 * the outputs in ffmpeg's `tee` notation. It runs as a separate program; see ChildProgram.
 */
import { spawn } from 'node:child_process';
import { announce } from './child-program.js';
import { CLOCK_BITS, CLOCK_BLOCK_PIXELS, drawClock } from './picture-clock.js';

const WIDTH = CLOCK_BITS * CLOCK_BLOCK_PIXELS;
const HEIGHT = 360;
const FRAMES_PER_S = 30;

const outputs = process.argv.slice(2);
const ffmpeg = spawn(
  process.env['FFMPEG_BIN'] ?? 'ffmpeg',
  [
    ...['-hide_banner', '-loglevel', 'error', '-fflags', 'nobuffer', '-probesize', '32', '-analyzeduration', '0'],
    ...['-f', 'rawvideo', '-pix_fmt', 'yuv420p', '-video_size', `${WIDTH}x${HEIGHT}`],
    ...['-framerate', String(FRAMES_PER_S), '-i', 'pipe:0', '-map', '0:v'],
    ...['-c:v', 'libx264', '-profile:v', 'baseline', '-preset', 'ultrafast', '-tune', 'zerolatency', '-threads', '1'],
    ...['-g', String(FRAMES_PER_S), '-keyint_min', String(FRAMES_PER_S), '-sc_threshold', '0'],
    ...['-b:v', '1500k', '-maxrate', '2000k', '-bufsize', '1000k', '-flags', '+global_header'],
    ...['-f', 'tee', outputs.join('|')],
  ],
  { stdio: ['pipe', 'ignore', 'inherit'] },
);
ffmpeg.once('exit', (status, signal) => {
  console.error(`the clock's ffmpeg ended with ${String(signal ?? status)}`);
  process.exit(1);
});
ffmpeg.stdin.on('error', () => undefined); // its end follows
process.once('exit', () => ffmpeg.kill('SIGKILL'));

const PLANE_BYTES = WIDTH * HEIGHT;
const texture = textureOf(2 * WIDTH);
const startedMs = performance.now();
const startedEpochMs = Date.now();
let frames = 0;

const mediaMs = (frame: number) => (frame * 1_000) / FRAMES_PER_S;

/**
 * Each picture shows the time at which it was due, as if a camera had taken it then. If this program is late, that
 * counts as age, too, and the clock runs exactly like the stream's timestamps. The next picture waits until ffmpeg has
 * taken this one.
 */
function drawNext(): void {
  const picture = Buffer.alloc((PLANE_BYTES * 3) / 2, 128);
  const shift = (frames * 2) % WIDTH;
  for (let row = 0; row < HEIGHT; row++)
    texture.copy(picture, row * WIDTH, row * 2 * WIDTH + shift, row * 2 * WIDTH + shift + WIDTH);
  drawClock(picture.subarray(0, PLANE_BYTES), WIDTH, Math.round(startedEpochMs + mediaMs(frames)));
  frames += 1;
  if (ffmpeg.stdin.write(picture)) schedule();
  else ffmpeg.stdin.once('drain', schedule);
}

function schedule(): void {
  setTimeout(drawNext, Math.max(0, startedMs + mediaMs(frames) - performance.now()));
}

/** Hills of light; their movement to the side gives the encoder some work. */
function textureOf(width: number): Buffer {
  const bytes = Buffer.alloc(width * HEIGHT);
  for (let y = 0; y < HEIGHT; y++)
    for (let x = 0; x < width; x++) {
      const angle = (2 * Math.PI * x) / (width / 2);
      bytes[y * width + x] = 128 + 60 * Math.sin(7 * angle + y / 23) + 40 * Math.cos(13 * angle - y / 11);
    }
  return bytes;
}

drawNext();
announce({});
