/** How long a token lets recordings be kept. */
export type Retention = 'none' | '7-days' | '30-days' | '90-days' | 'forever';

/** The meaning of a token's control word. Its `check…` members bind the token to a field that it must contain. */
export interface Control {
  readonly rtmpLive: boolean;
  readonly hlsLive: boolean;
  readonly checkIp: boolean;
  readonly checkRefer: boolean;
  readonly acceptUdp: boolean;
  readonly uploadObjects: boolean;
  readonly retention: Retention;
  /** Recordings overwrite the oldest ones. Never together with `recordEvents`. */
  readonly recordLoop: boolean;
  readonly recordEvents: boolean;
  readonly downloadObjects: boolean;
  readonly checkObjectId: boolean;
  readonly watchPublic: boolean;
  readonly watchPrivate: boolean;
  readonly timeShift: boolean;
  readonly watchRecordings: boolean;
  readonly voiceBack: boolean;
  readonly videoBack: boolean;
  readonly snapshot: boolean;
  /** Only counts without `watchPublic` and `watchPrivate`, which include the sound. */
  readonly audio: boolean;
}

type Flag = { [Name in keyof Control]: Control[Name] extends boolean ? Name : never }[keyof Control];

/**
 * Bits are counted as the vendor's tokens use them: byte 1 is the most significant one, and bit 0 is the top bit of its
 * byte. The vendor's document says the opposite, but its own tokens make no sense then.
 */
const bit = (byte: 1 | 2 | 3, index: number): number => 2 ** (31 - (byte - 1) * 8 - index);

const FLAGS: Readonly<Record<Flag, number>> = {
  rtmpLive: bit(1, 0),
  hlsLive: bit(1, 1),
  checkIp: bit(1, 2),
  checkRefer: bit(1, 3),
  acceptUdp: bit(1, 4),
  uploadObjects: bit(1, 5),
  recordLoop: bit(2, 4),
  recordEvents: bit(2, 5),
  downloadObjects: bit(2, 6),
  checkObjectId: bit(2, 7),
  watchPublic: bit(3, 0),
  watchPrivate: bit(3, 1),
  timeShift: bit(3, 2),
  watchRecordings: bit(3, 3),
  voiceBack: bit(3, 4),
  videoBack: bit(3, 5),
  snapshot: bit(3, 6),
  audio: bit(3, 7),
};

/** The unit of the four retention bits, which are the upper half of byte 2. */
const RETENTION_UNIT = bit(2, 3);
const RETENTION_CODES: Readonly<Record<Retention, number>> = {
  none: 0b0000,
  '7-days': 0b0001,
  '30-days': 0b0010,
  '90-days': 0b0011,
  forever: 0b1111,
};
const RETENTIONS = Object.keys(RETENTION_CODES) as Retention[];
const FLAG_NAMES = Object.keys(FLAGS) as Flag[];

/** Bits 6 and 7 of byte 1, and byte 4. */
const RESERVED = (bit(1, 6) | bit(1, 7) | 0xff) >>> 0;

const has = (word: number, mask: number): boolean => (word & mask) !== 0;

/**
 * Reads a control word. Undefined if it contains a reserved bit or value, or both kinds of recording: an unknown bit may
 * be a restriction, as the known `check…` bits are.
 */
export const controlOf = (word: number): Control | undefined => {
  if (!Number.isInteger(word) || word < 0 || word > 0xffffffff || has(word, RESERVED)) return undefined;
  const code = (word >>> Math.log2(RETENTION_UNIT)) & 0b1111;
  const retention = RETENTIONS.find((name) => RETENTION_CODES[name] === code);
  if (retention === undefined || (has(word, FLAGS.recordLoop) && has(word, FLAGS.recordEvents))) return undefined;
  const flag = (name: Flag) => has(word, FLAGS[name]);
  return {
    retention,
    ...{ rtmpLive: flag('rtmpLive'), hlsLive: flag('hlsLive'), acceptUdp: flag('acceptUdp') },
    ...{ checkIp: flag('checkIp'), checkRefer: flag('checkRefer'), checkObjectId: flag('checkObjectId') },
    ...{ uploadObjects: flag('uploadObjects'), downloadObjects: flag('downloadObjects') },
    ...{ recordLoop: flag('recordLoop'), recordEvents: flag('recordEvents') },
    ...{ watchPublic: flag('watchPublic'), watchPrivate: flag('watchPrivate'), timeShift: flag('timeShift') },
    ...{ watchRecordings: flag('watchRecordings'), snapshot: flag('snapshot'), audio: flag('audio') },
    ...{ voiceBack: flag('voiceBack'), videoBack: flag('videoBack') },
  };
};

/** Makes a control word. What isn't named isn't allowed. */
export const controlWord = ({ retention = 'none', ...rights }: Partial<Control>): number => {
  if (rights.recordLoop && rights.recordEvents)
    throw new RangeError('A token records in a loop or events, not both; name one of them');
  const flags = FLAG_NAMES.filter((name) => rights[name] === true).map((name) => FLAGS[name]);
  return flags.reduce((word, flag) => word + flag, RETENTION_CODES[retention] * RETENTION_UNIT);
};

/** The word of a device's own token: the device may send, and whoever has the token may call it. */
export const DEVICE_CONTROL: number = controlWord({
  ...{ rtmpLive: true, hlsLive: true, acceptUdp: true },
  ...{ watchPublic: true, watchPrivate: true, watchRecordings: true },
  ...{ voiceBack: true, videoBack: true, snapshot: true, audio: true },
});

/** What the holder of a token may do with the token's device in a call. */
export interface CallRights {
  readonly see: boolean;
  readonly hear: boolean;
  readonly speak: boolean;
  readonly show: boolean;
}

/** A device may send sound and picture if its own token allows any way of pushing. */
export const maySend = ({ rtmpLive, hlsLive, acceptUdp }: Control): boolean => rtmpLive || hlsLive || acceptUdp;

/** Whether the word names anything that a viewer may do. */
export const hasPlaybackBits = (control: Control): boolean =>
  [
    ...[control.watchPublic, control.watchPrivate, control.timeShift, control.watchRecordings],
    ...[control.voiceBack, control.videoBack, control.snapshot, control.audio],
  ].includes(true);

/**
 * What a call may carry that is opened with this token. A word without any playback bit is the device's own token, as the
 * vendor's example of a call has it: it allows everything if the device may send, and else nothing. A word with playback
 * bits was made for a viewer and allows only what it names.
 */
export const callRights = (control: Control): CallRights => {
  const { watchPublic, watchPrivate, voiceBack, videoBack, audio } = control;
  if (!hasPlaybackBits(control)) {
    const all = maySend(control);
    return { see: all, hear: all, speak: all, show: all };
  }
  const see = watchPublic || watchPrivate;
  return { see, hear: see || audio, speak: voiceBack, show: videoBack };
};
