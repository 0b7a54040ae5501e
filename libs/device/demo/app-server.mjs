// An example of an application's server for video calls. It knows the application's devices and their tokens, and sets
// calls up with two requests to weir's Web API. It also serves the demo page, on which two tabs call each other.
//
//   npm start                                  # weir, in another terminal
//   node libs/device/demo/app-server.mjs       # prints the page's address
//
// WEIR_URL (http://localhost:8080), CREDENTIALS (.weir/credentials.json) and PORT (9090) say where everything is. A real
// server would have its users log in first, and give each of them its own device's token only.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { bundleDevice } from '../bundle.mjs';

const { WEIR_URL = 'http://localhost:8080', CREDENTIALS = '.weir/credentials.json', PORT = '9090' } = process.env;

const { appId, appKey, devices } = JSON.parse(readFileSync(CREDENTIALS, 'utf8')).calls;
const tokens = new Map(devices.map(({ cid, token }) => [cid, token]));

/** Asks weir's Web API in the name of the application. */
async function askWeir(path, body) {
  const response = await fetch(new URL(path, WEIR_URL), {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-app-id': appId, 'x-app-key': appKey },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(10_000),
  });
  const answer = await response.json();
  if (!response.ok) throw new RequestError(502, `weir answered ${response.status}: ${answer.message}`);
  return answer;
}

class RequestError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

const tokenOf = (cid) => {
  const token = tokens.get(cid);
  if (token === undefined) throw new RequestError(404, `There is no device ${cid}`);
  return token;
};

/** What a device needs to start the cloud service. */
async function logIn({ cid }) {
  const token = tokenOf(cid);
  const { init_string } = await askWeir('/v2/devices/state', { cids: [cid] });
  return { token, init_string };
}

/** Device A asks for a call with device B. */
async function call({ from, to }) {
  const token = tokenOf(from);
  tokenOf(to);
  // The state of A says to which tracker it is connected.
  const { devices: found } = await askWeir('/v2/devices/state', { cids: [from] });
  const [caller] = found;
  if (caller === undefined || caller.state === 0) throw new RequestError(409, `Device ${from} is not online`);
  // A's URL is what B opens.
  const url = `topvdn://${caller.tracker_ip}:${caller.tracker_port}?protocolType=1&token=${token}`;
  // B gets it as a message. Sent once: a call that B doesn't get now must not ring hours later.
  const msg = Buffer.from(url).toString('base64');
  await askWeir('/v2/message/server/push', { proxy: 0, payload: { msg, flag: 3, clients: [to] } });
  return {};
}

const page = (name) => readFileSync(new URL(name, import.meta.url));
const deviceLibrary = await bundleDevice();

const answers = {
  'GET /': () => ['text/html; charset=utf-8', page('index.html')],
  'GET /page.js': () => ['text/javascript; charset=utf-8', page('page.js')],
  'GET /weir-device.js': () => ['text/javascript; charset=utf-8', deviceLibrary],
  'GET /devices': () => ['application/json', JSON.stringify([...tokens.keys()])],
  'POST /log-in': async (body) => ['application/json', JSON.stringify(await logIn(body))],
  'POST /call': async (body) => ['application/json', JSON.stringify(await call(body))],
};

const MAX_BODY_BYTES = 10_000;

async function bodyOf(request) {
  let text = '';
  for await (const chunk of request) {
    text += chunk;
    if (text.length > MAX_BODY_BYTES) throw new RequestError(413, 'The body is too long');
  }
  return text === '' ? {} : JSON.parse(text);
}

const server = createServer(async (request, response) => {
  try {
    const { pathname } = new URL(request.url, 'http://server');
    const answer = answers[`${request.method} ${pathname}`];
    if (answer === undefined) throw new RequestError(404, 'There is nothing here');
    const [type, content] = await answer(await bodyOf(request));
    response.writeHead(200, { 'content-type': type }).end(content);
  } catch (error) {
    const status = error instanceof SyntaxError ? 400 : (error.status ?? 500);
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify({ message: error.message }));
  }
});
server.listen(Number(PORT), '127.0.0.1', () => {
  console.log(`Open http://localhost:${server.address().port}/ in two tabs`);
});
