/**
 * The time of day in NTP and RTCP (RFC 3550 §4): seconds since 1900, and the fraction of a second in units of 2^-32.
 */
export interface NtpTime {
  readonly ntpSeconds: number;
  readonly ntpFraction: number;
}

const NTP_TO_UNIX_SECONDS = 2_208_988_800;

/** `unixMs` is in milliseconds since 1970. */
export function ntpTimeOf(unixMs: number): NtpTime {
  const seconds = Math.floor(unixMs / 1000);
  return {
    ntpSeconds: (seconds + NTP_TO_UNIX_SECONDS) % 2 ** 32,
    ntpFraction: Math.floor(((unixMs - seconds * 1000) / 1000) * 2 ** 32),
  };
}

export const unixMsOf = ({ ntpSeconds, ntpFraction }: NtpTime): number =>
  (ntpSeconds - NTP_TO_UNIX_SECONDS) * 1000 + (ntpFraction * 1000) / 2 ** 32;

/** The middle 32 bits of the NTP time. A receiver report uses them to name the sender report that it refers to. */
export const shortNtp = ({ ntpSeconds, ntpFraction }: NtpTime): number =>
  (((ntpSeconds & 0xffff) << 16) | (ntpFraction >>> 16)) >>> 0;

/** For the header extension abs-send-time: 6 bits of seconds and 18 bits of fraction. */
export const absSendTime = (unixMs: number): number =>
  Math.floor(((unixMs / 1000 + NTP_TO_UNIX_SECONDS) % 64) * 0x4_0000) & 0xff_ffff;
