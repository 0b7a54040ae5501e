import { existsSync, readdirSync } from 'node:fs';
import { findProgram, run, SetupError, succeeds } from './command.mjs';

/**
 * Something that must be installed on the system. `debian` is the name of the Debian package. `programs`: one of them
 * is enough. `shown`, for what isn't a program: a command that succeeds if it is installed.
 *
 * @typedef {{ debian: string, elsewhere: string } & ({ programs: readonly string[] } | { shown: readonly [string, ...string[]] })} SystemPackage
 */

/** @type {SystemPackage} */
export const FFMPEG = { debian: 'ffmpeg', programs: ['ffmpeg'], elsewhere: 'ffmpeg 5 or newer' };
/** @type {SystemPackage} */
export const NATS = { debian: 'nats-server', programs: ['nats-server'], elsewhere: 'nats-server 2.9 or newer' };
/** @type {SystemPackage} */
export const REDIS = { debian: 'redis-server', programs: ['redis-server'], elsewhere: 'redis-server 7 or newer' };
/** @type {SystemPackage} */
export const COTURN = { debian: 'coturn', programs: ['turnserver'], elsewhere: 'coturn 4.6 or newer' };
/** @type {SystemPackage} */
export const CHROMIUM = {
  debian: 'chromium',
  programs: ['chromium', 'chromium-browser', 'google-chrome'],
  elsewhere: 'Chromium',
};
/** @type {SystemPackage} */
export const OPENSSL = { debian: 'openssl', programs: ['openssl'], elsewhere: 'openssl 3' };
/**
 * The README's commands use it, and tests run those commands.
 *
 * @type {SystemPackage}
 */
export const CURL = { debian: 'curl', programs: ['curl'], elsewhere: 'curl' };

/** @param {string} debian @param {string} element @returns {SystemPackage} */
const gstreamerPlugin = (debian, element) => ({
  debian,
  shown: ['gst-inspect-1.0', '--exists', element],
  elsewhere: `GStreamer's element ${element}`,
});

/**
 * Needed for test hosts with their own networks; without it, tests between two hosts are skipped.
 *
 * @type {readonly SystemPackage[]}
 */
export const TEST_HOSTS = [
  { debian: 'iproute2', programs: ['ip', '/usr/sbin/ip'], elsewhere: 'iproute2' },
  { debian: 'python3', shown: ['/usr/bin/python3', '-c', 'import ctypes'], elsewhere: 'Python 3' },
];

/**
 * Other projects' programs that the tests connect to weir. They take some 30 MB to download and 100 MB installed, in
 * addition to what ffmpeg and Chromium need anyway.
 *
 * @type {readonly SystemPackage[]}
 */
export const PEERS = [
  { debian: 'gstreamer1.0-tools', programs: ['gst-launch-1.0'], elsewhere: "GStreamer's tools" },
  gstreamerPlugin('gstreamer1.0-plugins-base', 'opusenc'),
  gstreamerPlugin('gstreamer1.0-plugins-good', 'rtspsrc'),
  gstreamerPlugin('gstreamer1.0-plugins-ugly', 'x264enc'),
  gstreamerPlugin('gstreamer1.0-plugins-bad', 'h264parse'),
  gstreamerPlugin('gstreamer1.0-libav', 'avdec_h264'),
  // Its elements have no rank, which --exists requires.
  { debian: 'gstreamer1.0-nice', shown: ['gst-inspect-1.0', 'nicesrc'], elsewhere: "GStreamer's element nicesrc" },
  gstreamerPlugin('gstreamer1.0-rtsp', 'rtspclientsink'),
  {
    debian: 'python3-gi',
    shown: ['/usr/bin/python3', '-c', 'import gi'],
    elsewhere: 'PyGObject for Python 3',
  },
  {
    debian: 'gir1.2-gst-plugins-bad-1.0',
    shown: ['/usr/bin/python3', '-c', 'import gi; gi.require_version("GstWebRTC", "1.0")'],
    elsewhere: "GStreamer's WebRTC library with its introspection data",
  },
  {
    debian: 'gir1.2-gst-rtsp-server-1.0',
    shown: ['/usr/bin/python3', '-c', 'import gi; gi.require_version("GstRtspServer", "1.0")'],
    elsewhere: "GStreamer's RTSP server with its introspection data",
  },
];
/**
 * Firefox, and a sound server for it: without a place to play at, its Web Audio stands still.
 *
 * @type {readonly SystemPackage[]}
 */
export const FIREFOX = [
  { debian: 'firefox-esr', programs: ['firefox-esr'], elsewhere: 'Firefox ESR' },
  { debian: 'pulseaudio', programs: ['pulseaudio'], elsewhere: 'PulseAudio' },
];

export const canInstall = () => findProgram('apt-get') !== undefined;

/** nginx and its module that turns RTMP into HLS, which a benchmark compares with. */
export const NGINX_PACKAGES = ['nginx-light', 'libnginx-mod-rtmp'];
export const isNginxRtmpInstalled = () =>
  findProgram('nginx') !== undefined && existsSync('/usr/lib/nginx/modules/ngx_rtmp_module.so');

/** @param {SystemPackage} systemPackage */
export const isInstalled = (systemPackage) =>
  'programs' in systemPackage
    ? systemPackage.programs.some((program) => findProgram(program) !== undefined)
    : succeeds(...systemPackage.shown);

/**
 * Installs Debian packages, as root or through sudo. Only their programs are needed: system services that they contain
 * are neither started nor left enabled.
 *
 * @param {readonly string[]} packages
 * @param {{ log: import('./command.mjs').Log, elsewhere: readonly string[] }} options `elsewhere` names what is
 *   missing, for users whose system has no apt
 */
export async function installSystemPackages(packages, { log, elsewhere }) {
  if (!canInstall())
    throw new SetupError(
      'weir needs programs that this system lacks, and it can install them only with apt-get, which is missing.\n' +
        `Install these and make sure that they are in PATH:\n${elsewhere.map((name) => `  - ${name}`).join('\n')}`,
    );
  const isRoot = process.getuid?.() === 0;
  if (!isRoot && !succeeds('sudo', '-n', 'true')) throw new SetupError(commandForRoot(packages));
  log(`installing system packages: ${packages.join(' ')}`);
  let step = '';
  await run(
    'installing system packages',
    isRoot
      ? ['sh', '-c', INSTALL_SCRIPT, 'sh', ...packages]
      : ['sudo', '-n', 'sh', '-c', INSTALL_SCRIPT, 'sh', ...packages],
    {
      log,
      progress: () => step,
      onLine: (line) => {
        step = /^(Get:\d+|Unpacking \S+|Setting up \S+)/.exec(line)?.[0] ?? step;
      },
    },
  );
}

const hasSystemd = () => existsSync('/run/systemd/system');
const services = (/** @type {readonly string[]} */ packages) =>
  packages.flatMap((name) =>
    name === NATS.debian || name === REDIS.debian || name === COTURN.debian
      ? [name]
      : name === 'nginx-light'
        ? ['nginx']
        : [],
  );

/** @param {readonly string[]} packages */
function commandForRoot(packages) {
  const started = services(packages);
  const steps = [
    'sudo apt-get update',
    `sudo apt-get install -y --no-install-recommends ${packages.join(' ')}`,
    ...(hasSystemd() && started.length > 0 ? [`sudo systemctl disable --now ${started.join(' ')}`] : []),
  ];
  return `weir needs programs that this system lacks. Install them with this command and try again:\n\n  ${steps.join(' && ')}\n`;
}

const INSTALL_SCRIPT = `
set -e
export DEBIAN_FRONTEND=noninteractive
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
  trap 'rm -f $policy' EXIT
  trap 'exit 1' HUP INT TERM
  printf '#!/bin/sh\\nexit 101\\n' >$policy
  chmod 755 $policy
fi
install() { apt-get -o DPkg::Lock::Timeout=600 install -y --no-install-recommends "$@"; }
update() { apt-get -o DPkg::Lock::Timeout=600 update; }
${hasPackageLists() ? '' : 'update'}
install "$@" || { update; install "$@"; }
if [ -d /run/systemd/system ]; then
  for package in "$@"; do
    case $package in
      coturn | nats-server | redis-server) systemctl disable --now $package ;;
      nginx-light) systemctl disable --now nginx ;;
    esac
  done
fi
`;

function hasPackageLists() {
  try {
    return readdirSync('/var/lib/apt/lists').some(
      (name) => name.endsWith('_Packages') || name.endsWith('_Packages.lz4'),
    );
  } catch {
    return false; // there is no apt, or its lists can't be read
  }
}
