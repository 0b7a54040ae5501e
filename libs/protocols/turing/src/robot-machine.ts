import { charged, fullAllowance, type Allowance } from '@weir/timing';
import { decodeRobotFrame, encodeCommand, encodeRobotReply, type Outcome } from './codec.js';
import type { RobotCommand } from './messages.js';
import { errOf, type Problem } from './problem.js';
import { CLOSE, frameCost, type CloseCode, type RobotSettings } from './settings.js';

declare const commandRefBrand: unique symbol;
/** Names a command to one robot's socket; unique forever. */
export type CommandRef = string & { readonly [commandRefBrand]: true };

interface PendingCommand {
  readonly act: RobotCommand['act'];
  readonly deadlineMs: number;
}

interface OpenRobot {
  readonly tag: 'open';
  readonly settings: RobotSettings;
  readonly allowance: Allowance;
  readonly commands: ReadonlyMap<string, PendingCommand>;
  readonly heardMs: number;
  readonly nextPingMs: number;
}

export type RobotState = OpenRobot | { readonly tag: 'closed' };

export type RobotInput =
  | { readonly tag: 'command'; readonly ref: CommandRef; readonly command: RobotCommand; readonly timeoutMs: number }
  | { readonly tag: 'frame'; readonly text: string }
  | { readonly tag: 'binary-frame'; readonly byteLength: number }
  /** A pong arrived, so the robot's WebSocket layer is alive. */
  | { readonly tag: 'heard' }
  | { readonly tag: 'terminate'; readonly code: CloseCode; readonly reason: string }
  | { readonly tag: 'socket-closed' }
  | { readonly tag: 'tick' };

export type RobotEffect =
  | { readonly tag: 'send'; readonly text: string }
  | { readonly tag: 'ping' }
  | { readonly tag: 'close'; readonly code: CloseCode; readonly reason: string }
  /** Every command ends with this, exactly once. */
  | { readonly tag: 'commanded'; readonly ref: CommandRef; readonly outcome: Outcome<unknown> }
  /** For logs and metrics: a frame that had no effect. */
  | { readonly tag: 'unused'; readonly why: 'malformed' | 'late-reply' | 'notification' | 'unknown-act' };

export interface RobotStep {
  readonly state: RobotState;
  readonly effects: readonly RobotEffect[];
}

export const newRobot = (settings: RobotSettings, nowMs: number): RobotState => ({
  tag: 'open',
  settings,
  allowance: fullAllowance(settings, nowMs),
  commands: new Map(),
  heardMs: nowMs,
  nextPingMs: nowMs + settings.pingIntervalMs,
});

/** When the socket needs its next `tick`; Infinity if it needs none. */
export const nextRobotDeadlineMs = (state: RobotState): number => {
  if (state.tag === 'closed') return Infinity;
  let earliestMs = Math.min(state.nextPingMs, state.heardMs + state.settings.silentAfterMs);
  for (const { deadlineMs } of state.commands.values()) earliestMs = Math.min(earliestMs, deadlineMs);
  return earliestMs;
};

/**
 * One robot's socket. Inputs carry the time of their arrival; effects must be carried out in the given order. No input
 * in any state throws. Every command gets exactly one outcome, whatever happens to the socket.
 */
export const stepRobot = (state: RobotState, input: RobotInput, nowMs: number): RobotStep => {
  if (state.tag === 'closed')
    return { state, effects: input.tag === 'command' ? [failed(input.ref, 'robot-offline')] : [] };
  switch (input.tag) {
    case 'command':
      return command(state, input.ref, input.command, nowMs + input.timeoutMs);
    case 'frame':
      return paid({ ...state, heardMs: nowMs }, input.text.length, nowMs, (open) => frame(open, input.text));
    case 'binary-frame':
      return paid({ ...state, heardMs: nowMs }, input.byteLength, nowMs, malformed);
    case 'heard':
      return { state: { ...state, heardMs: nowMs }, effects: [] };
    case 'terminate':
      return closed(state, input.code, input.reason);
    case 'socket-closed':
      return { state: { tag: 'closed' }, effects: offline(state) };
    case 'tick':
      return tick(state, nowMs);
    default:
      return input satisfies never;
  }
};

const failed = (ref: string, problem: Problem): RobotEffect => ({
  tag: 'commanded',
  ref: ref as CommandRef,
  outcome: { ok: false, err: errOf(problem) },
});

const offline = ({ commands }: OpenRobot): RobotEffect[] =>
  [...commands.keys()].map((ref) => failed(ref, 'robot-offline'));

const closed = (state: OpenRobot, code: CloseCode, reason: string): RobotStep => ({
  state: { tag: 'closed' },
  effects: [...offline(state), { tag: 'close', code, reason }],
});

const paid = (state: OpenRobot, length: number, nowMs: number, then: (state: OpenRobot) => RobotStep): RobotStep => {
  const allowance = charged(state.allowance, frameCost(length), state.settings, nowMs);
  return allowance === undefined ? closed(state, CLOSE.flood, 'Too many frames') : then({ ...state, allowance });
};

const command = (state: OpenRobot, ref: CommandRef, what: RobotCommand, deadlineMs: number): RobotStep => {
  if (state.commands.size >= state.settings.maxCommands) return { state, effects: [failed(ref, 'too-many')] };
  const commands = new Map(state.commands).set(ref, { act: what.act, deadlineMs });
  return { state: { ...state, commands }, effects: [{ tag: 'send', text: encodeCommand(ref, what) }] };
};

const malformed = (state: OpenRobot): RobotStep => {
  const count = state.allowance.malformed + 1;
  if (count >= state.settings.maxMalformed) return closed(state, CLOSE.protocolError, 'Too many malformed frames');
  return {
    state: { ...state, allowance: { ...state.allowance, malformed: count } },
    effects: [{ tag: 'unused', why: 'malformed' }],
  };
};

const frame = (state: OpenRobot, text: string): RobotStep => {
  const decoded = decodeRobotFrame(text);
  switch (decoded.tag) {
    case 'malformed':
      return malformed(state);
    case 'reply':
      return replied(state, decoded.ref, decoded.outcome);
    case 'request':
      return {
        state,
        effects: [
          { tag: 'send', text: encodeRobotReply(decoded.replyTo) },
          { tag: 'unused', why: decoded.replyTo.act === 'robot.update_state' ? 'notification' : 'unknown-act' },
        ],
      };
    case 'notification':
      return { state, effects: [{ tag: 'unused', why: 'notification' }] };
    default:
      return decoded satisfies never;
  }
};

const replied = (state: OpenRobot, ref: string | undefined, outcome: Outcome<unknown>): RobotStep => {
  if (ref === undefined || !state.commands.has(ref)) return { state, effects: [{ tag: 'unused', why: 'late-reply' }] };
  const commands = new Map(state.commands);
  commands.delete(ref);
  return { state: { ...state, commands }, effects: [{ tag: 'commanded', ref: ref as CommandRef, outcome }] };
};

const tick = (state: OpenRobot, nowMs: number): RobotStep => {
  const { settings } = state;
  if (state.heardMs + settings.silentAfterMs <= nowMs)
    return closed(state, CLOSE.timeout, 'Nothing was heard for too long');
  const overdue = [...state.commands].flatMap(([ref, { deadlineMs }]) => (deadlineMs <= nowMs ? [ref] : []));
  const commands = new Map(state.commands);
  for (const ref of overdue) commands.delete(ref);
  const effects = overdue.map((ref) => failed(ref, 'timeout'));
  if (state.nextPingMs > nowMs) return { state: { ...state, commands }, effects };
  return {
    state: { ...state, commands, nextPingMs: nowMs + settings.pingIntervalMs },
    effects: [...effects, { tag: 'ping' }],
  };
};
