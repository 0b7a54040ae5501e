import { existsSync } from 'node:fs';
import type { RobotSettings } from './settings.js';

const FONTS = [
  '/usr/share/fonts/truetype/dejavu/DejaVuSansMono.ttf',
  '/usr/share/fonts/truetype/liberation/LiberationMono-Regular.ttf',
  '/usr/share/fonts/dejavu-sans-mono-fonts/DejaVuSansMono.ttf',
  '/usr/share/fonts/TTF/DejaVuSansMono.ttf',
  '/System/Library/Fonts/Menlo.ttc',
];

export const findFont = (wanted: string | undefined): string | undefined =>
  wanted ?? FONTS.find((file) => existsSync(file));

/** Different moving test pictures, so that cameras can be told apart and a frozen one is noticed. */
const SOURCES = ['testsrc2', 'smptebars', 'testsrc', 'pal75bars'] as const;

/** ffmpeg's filters take text in quotes; characters that would end the text or have a meaning in it are removed. */
const plain = (text: string): string => text.replace(/[^A-Za-z0-9_. /-]/g, '');

const clock = (robotId: string, camera: string, height: number, font: string): string => {
  const size = Math.max(12, Math.round(height / 20));
  const text = `${plain(`${robotId} ${camera}`)} %{localtime\\:%T} %{pts\\:hms}`;
  return (
    `drawtext=fontfile='${plain(font)}':fontsize=${size}:fontcolor=white:box=1:boxcolor=black@0.6:boxborderw=6` +
    `:x=(w-text_w)/2:y=h-2*text_h:text='${text}'`
  );
};

export type PictureSettings = Pick<
  RobotSettings,
  'robotId' | 'width' | 'height' | 'framesPerSecond' | 'audio' | 'fontFile'
>;

/**
 * The arguments with which ffmpeg pushes a camera's picture: H.264 baseline without delay, a key frame every second, a
 * different tone for each camera, over RTSP in one TCP connection.
 */
export const ffmpegArguments = (camera: string, index: number, uri: string, settings: PictureSettings): string[] => {
  const { robotId, width, height, framesPerSecond, audio } = settings;
  const font = findFont(settings.fontFile);
  const source = SOURCES[index % SOURCES.length] ?? SOURCES[0];
  return [
    ...['-hide_banner', '-nostdin', '-loglevel', 'error', '-progress', 'pipe:1', '-stats_period', '0.2'],
    ...['-re', '-f', 'lavfi', '-i', `${source}=size=${width}x${height}:rate=${framesPerSecond}`],
    ...(audio === 'none' ? [] : ['-re', '-f', 'lavfi', '-i', `sine=frequency=${440 + 110 * index}:sample_rate=48000`]),
    ...(font === undefined ? [] : ['-vf', clock(robotId, camera, height, font)]),
    ...['-pix_fmt', 'yuv420p', '-c:v', 'libx264', '-profile:v', 'baseline', '-preset', 'ultrafast'],
    ...['-tune', 'zerolatency', '-g', String(framesPerSecond), '-keyint_min', String(framesPerSecond)],
    ...['-sc_threshold', '0', '-b:v', '800k', '-maxrate', '1000k', '-bufsize', '500k'],
    ...AUDIO_ARGUMENTS[audio],
    ...['-f', 'rtsp', '-rtsp_transport', 'tcp', uri],
  ];
};

const AUDIO_ARGUMENTS: Readonly<Record<RobotSettings['audio'], readonly string[]>> = {
  aac: ['-c:a', 'aac', '-ac', '1', '-b:a', '64k'],
  opus: ['-c:a', 'libopus', '-ac', '2', '-b:a', '64k'],
  none: [],
};
