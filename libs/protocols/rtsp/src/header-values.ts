export interface SessionHeader {
  readonly id: string;
  readonly timeoutS: number | undefined;
}

/** RFC 2326, 12.37. The id is compared as a whole; blanks around it and unknown parameters are dropped. */
export function parseSession(header: string): SessionHeader | undefined {
  const [id = '', ...parameters] = header.split(';').map((part) => part.trim());
  if (!/^[\x21-\x7e]{1,256}$/.test(id)) return undefined;
  const timeout = parameters
    .map((part) => /^timeout\s*=\s*(\d{1,6})/i.exec(part)?.[1])
    .find((text) => text !== undefined);
  return { id, timeoutS: timeout === undefined || Number(timeout) === 0 ? undefined : Number(timeout) };
}

export function formatSession(session: SessionHeader): string {
  return session.timeoutS === undefined ? session.id : `${session.id};timeout=${session.timeoutS}`;
}

/** Where a track's timeline starts (RFC 2326, 12.33). */
export interface RtpInfo {
  readonly url: string;
  readonly sequence: number | undefined;
  readonly timestamp: number | undefined;
}

/** Accepts URLs with commas and semicolons: each entry starts at `url=`. */
export function parseRtpInfo(header: string): RtpInfo[] {
  return header
    .split(/(?:^|[,;])\s*url\s*=\s*/i)
    .slice(1)
    .map((entry) => {
      const parameters = /(?:\s*;\s*(?:seq|rtptime)\s*=\s*\d*\s*)+,?\s*$/i.exec(entry);
      const url = (parameters ? entry.slice(0, parameters.index) : entry.replace(/[,;\s]+$/, '')).replace(/^"|"$/g, '');
      const tail = parameters?.[0] ?? '';
      return { url, sequence: numberIn(tail, 'seq', 0xffff), timestamp: numberIn(tail, 'rtptime', 0xffffffff) };
    })
    .filter((info) => info.url !== '');
}

function numberIn(text: string, name: string, highest: number): number | undefined {
  const digits = new RegExp(`${name}\\s*=\\s*(\\d{1,10})`, 'i').exec(text)?.[1];
  return digits !== undefined && Number(digits) <= highest ? Number(digits) : undefined;
}

export function formatRtpInfo(tracks: readonly RtpInfo[]): string {
  return tracks
    .map(({ url, sequence, timestamp }) => {
      const seq = sequence === undefined ? '' : `;seq=${sequence}`;
      return `url=${url}${seq}${timestamp === undefined ? '' : `;rtptime=${timestamp}`}`;
    })
    .join(',');
}

/** Public and Allow: RFC 2326, 12.28. */
export function parseMethods(header: string): Set<string> {
  return new Set(
    header
      .split(',')
      .map((method) => method.trim().toUpperCase())
      .filter((method) => method !== ''),
  );
}
