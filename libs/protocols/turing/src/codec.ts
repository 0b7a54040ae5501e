import { memberTexts } from './member-text.js';
import {
  appActs,
  robotErrSchema,
  type AppAct,
  type AppEvent,
  type AppRequest,
  type AppResult,
  type ReplyTo,
  type RobotCommand,
} from './messages.js';
import { errOf, errOfRobot, SUCCESS, type Err } from './problem.js';
import { LENGTHS } from './settings.js';

export type Outcome<Result> = { readonly ok: true; readonly ret: Result } | { readonly ok: false; readonly err: Err };

export type DecodedRequest =
  | { readonly tag: 'request'; readonly replyTo: ReplyTo; readonly request: AppRequest }
  /** A request that can't be carried out; its sender gets a reply. */
  | { readonly tag: 'refused'; readonly replyTo: ReplyTo; readonly err: Err }
  /** Not a request. */
  | { readonly tag: 'malformed'; readonly err: Err };

type Frame = Readonly<Record<string, unknown>>;

const isRecord = (value: unknown): value is Frame =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const parseJson = (text: string): unknown => {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
};

const isAppAct = (act: string): act is AppAct => Object.hasOwn(appActs, act);

const malformed = (err: Err): { readonly tag: 'malformed'; readonly err: Err } => ({ tag: 'malformed', err });

interface Envelope {
  readonly frame: Frame;
  readonly replyTo: ReplyTo;
}

const envelopeIn = (text: string): Envelope | Err => {
  if (text.length > LENGTHS.frame) return errOf('too-long');
  const frame = parseJson(text);
  if (!isRecord(frame)) return errOf('not-a-request', 'It is not a JSON object.');
  const act = frame['act'];
  if (typeof act !== 'string' || act === '' || act.length > LENGTHS.act)
    return errOf('not-a-request', 'It has no usable act.');
  const members = memberTexts(text);
  const id = members.get('id') ?? 'null';
  const ebd = members.get('ebd');
  if (id.length > LENGTHS.id || (ebd?.length ?? 0) > LENGTHS.ebd)
    return errOf('not-a-request', 'Its id or ebd is too long.');
  return { frame, replyTo: { id, act, ebd } };
};

const isErr = (value: Envelope | Err): value is Err => 'ec' in value;

/** Reads a frame from an app. */
export const decodeRequest = (text: string): DecodedRequest => {
  const envelope = envelopeIn(text);
  if (isErr(envelope)) return malformed(envelope);
  const { frame, replyTo } = envelope;
  const { act } = replyTo;
  if (!isAppAct(act)) return { tag: 'refused', replyTo, err: errOf('unknown-act') };
  const arg = frame['arg'] ?? {};
  switch (act) {
    // One line per act lets the compiler know which schema belongs to which act.
    case 'robot.start_stream':
      return decoded(replyTo, act, appActs[act].safeParse(arg));
    case 'robot.stop_stream':
      return decoded(replyTo, act, appActs[act].safeParse(arg));
    case 'robot.start_recording':
      return decoded(replyTo, act, appActs[act].safeParse(arg));
    case 'robot.stop_recording':
      return decoded(replyTo, act, appActs[act].safeParse(arg));
    case 'robot.list':
      return decoded(replyTo, act, appActs[act].safeParse(arg));
    case 'robot.list_cameras':
      return decoded(replyTo, act, appActs[act].safeParse(arg));
    default:
      return act satisfies never;
  }
};

type Parsed<Arg> =
  | { readonly success: true; readonly data: Arg }
  | {
      readonly success: false;
      readonly error: { readonly issues: readonly { readonly path: readonly PropertyKey[] }[] };
    };

function decoded<Act extends AppAct, Arg>(
  replyTo: ReplyTo,
  act: Act,
  parsed: Parsed<Arg>,
): { tag: 'request'; replyTo: ReplyTo; request: { act: Act; arg: Arg } } | Extract<DecodedRequest, { tag: 'refused' }> {
  if (parsed.success) return { tag: 'request', replyTo, request: { act, arg: parsed.data } };
  const field = String(parsed.error.issues[0]?.path[0] ?? 'arg');
  return { tag: 'refused', replyTo, err: errOf('invalid-arg', `See ${field}.`) };
}

const reply = ({ id, act, ebd }: ReplyTo, err: Err, ret: unknown): string => {
  const ending = ebd === undefined ? '' : `,"ebd":${ebd}`;
  return `{"id":${id},"act":${JSON.stringify(`${act}!`)},"err":${JSON.stringify(err)},"ret":${JSON.stringify(ret)}${ending}}`;
};

export const encodeReply = (replyTo: ReplyTo, outcome: Outcome<AppResult>): string =>
  outcome.ok ? reply(replyTo, SUCCESS, outcome.ret) : reply(replyTo, outcome.err, null);

/** For a frame whose id couldn't be read. */
export const encodeComplaint = (err: Err): string => JSON.stringify({ id: null, act: '!', err, ret: null });

/** The body of an HTTP response that refuses a socket. */
export const encodeRefusal = (err: Err): string => JSON.stringify({ err, ret: null, ext: null, ebd: null });

export const encodeEvent = (event: AppEvent): string => JSON.stringify(event);

/** @param ref returned as the reply's `id` and, by robots that make up their own id, in its `ebd` */
export const encodeCommand = (ref: string, { act, arg }: RobotCommand): string =>
  JSON.stringify({ id: ref, act, arg, ebd: { ref } });

export type DecodedRobotFrame =
  | { readonly tag: 'reply'; readonly ref: string | undefined; readonly outcome: Outcome<unknown> }
  /** A robot asks something and waits for a reply. */
  | { readonly tag: 'request'; readonly replyTo: ReplyTo }
  | { readonly tag: 'notification'; readonly act: string }
  | { readonly tag: 'malformed'; readonly err: Err };

const refIn = ({ id, ebd }: Frame): string | undefined => {
  if (typeof id === 'string' && id !== '') return id;
  const ref = isRecord(ebd) ? ebd['ref'] : undefined;
  return typeof ref === 'string' ? ref : undefined;
};

const outcomeIn = ({ err, ret }: Frame): Outcome<unknown> => {
  const parsed = robotErrSchema.safeParse(err);
  const { ec, em = '', dm = '' } = parsed.success ? parsed.data : {};
  const isFine = ec === undefined ? dm === 'ok' : ec === 0;
  return isFine ? { ok: true, ret: ret ?? {} } : { ok: false, err: errOfRobot({ em, dm }) };
};

/** Reads a frame from a robot. */
export const decodeRobotFrame = (text: string): DecodedRobotFrame => {
  const envelope = envelopeIn(text);
  if (isErr(envelope)) return malformed(envelope);
  const { frame, replyTo } = envelope;
  if (replyTo.act.endsWith('!')) return { tag: 'reply', ref: refIn(frame), outcome: outcomeIn(frame) };
  return replyTo.id === 'null' ? { tag: 'notification', act: replyTo.act } : { tag: 'request', replyTo };
};

/** Answers a robot's own request; only `robot.update_state` is supported. */
export const encodeRobotReply = (replyTo: ReplyTo): string =>
  replyTo.act === 'robot.update_state' ? reply(replyTo, SUCCESS, {}) : reply(replyTo, errOf('unknown-act'), null);
