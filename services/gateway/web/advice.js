// What the user can do about each failure.

const httpsAddress = () => `https://${location.hostname}:8443`;

const SERVER_TEXTS = {
  'Stream name is already in use': 'Somebody already publishes under this name. Choose another name.',
  'Stream not found': 'Nobody publishes under this name right now. Check the spelling, or publish it first.',
  'Publish stream is not ready': 'The publisher is still starting. Try again in a moment.',
  'Restricted access': 'You need permission for this: enter an access token under “Connection options”.',
  'Stopped by publisher stop': 'The publisher has stopped.',
  'Stopped by rest /terminate': 'An operator has ended the stream.',
  'Stopped by session disconnect': 'The publisher has disconnected.',
  'Failed by RTP activity': 'No sound or picture has arrived for a while. Check the source and the network.',
  'No common codecs': 'This browser and the stream have no video or audio format in common. Try another browser.',
  'Connection lost': 'The connection to the server was lost. Check the network and start again.',
  'No answer': 'The server did not answer. Check its health at the top of the page, then try again.',
};
const MEDIA_BLOCKED =
  'Sound and picture could not get through. The server’s media port (by default 40000, UDP and TCP) must be ' +
  'open, and the server must announce an address that is reachable from here (WEIR_ANNOUNCED_ADDRESS).';

/** @param {string} info the text of a stream's status */
export function adviceForStream(info) {
  if (/^Failed by (ICE|DTLS)/.test(info)) return `${MEDIA_BLOCKED} (${info})`;
  return (
    SERVER_TEXTS[info] ??
    (info === '' ? 'The server ended the stream without giving a reason.' : `The server says: ${info}`)
  );
}

/** @param {unknown} error from opening the source or from connecting */
export function adviceForError(error) {
  switch (error.name) {
    case 'NotAllowedError':
      return 'The browser blocks the camera and microphone. Allow them for this page in the address bar, or choose the test picture.';
    case 'NotFoundError':
    case 'OverconstrainedError':
      return 'No camera or microphone was found. Plug one in, or choose the test picture.';
    case 'NotReadableError':
      return 'The camera or microphone is in use by another program. Close it there and try again.';
    case 'WcsError':
      return error.code === 'refused'
        ? 'The server refused the session. Check the application key, and whether it needs an access token, under “Connection options”.'
        : `${error.message} Check its health at the top of the page, then try again.`;
    default:
      return error.message;
  }
}

/** Why this page can't use a camera; undefined if it may. */
export function adviceForPage() {
  if (navigator.mediaDevices !== undefined) return undefined;
  return window.isSecureContext
    ? 'This browser gives pages no access to cameras. You can publish the test picture.'
    : `Browsers allow the camera on secure pages only. Open this page as ${httpsAddress()} or, on the server itself, ` +
        'as http://localhost:8080. The test picture works here too.';
}
