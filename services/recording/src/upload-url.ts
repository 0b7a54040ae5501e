/** Why a file can't be put to a URL. `trap` is for programs, `text` for people; neither repeats the URL. */
export interface UploadUrlProblem {
  readonly trap:
    | 'malformed'
    | 'scheme'
    | 'forbidden-address'
    | 'credentials'
    | 'fragment'
    | 'expired'
    | 'expires-soon'
    | 'not-yet-valid'
    | 'empty-body-checksum'
    | 'fixed-checksum'
    | 'signed-header'
    | 'no-write-permission';
  readonly text: string;
}

export interface UploadUrlRules {
  readonly nowMs: number;
  /** The URL must stay valid for at least this long. */
  readonly minValidMs: number;
  readonly requireHttps: boolean;
}

/** The checksums of an empty body. A signer that doesn't know the body signs these. */
const EMPTY_CHECKSUMS = new Set([
  'AAAAAA==', // CRC32, CRC32C
  'AAAAAAAAAAA=', // CRC64NVME
  '2jmj7l5rSw0yVb/vlWAYkK/YBwk=', // SHA-1
  '47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=', // SHA-256
  '1B2M2Y8AsgTpgAmY7PhCfg==', // MD5
  'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
]);
const CHECKSUM_PARAMETER = /^(?:x-amz-checksum-(?!algorithm|type|mode).+|x-amz-content-sha256|content-md5)$/;
/** Headers that an upload has anyway, or whose value is in the URL's query. */
const SENT_HEADERS = new Set(['host', 'content-type']);
/** How far a signer's clock may be ahead. */
const CLOCK_TOLERANCE_MS = 15 * 60_000;
const COMPACT_TIME = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/;

type Query = ReadonlyMap<string, string>;

const queryOf = (url: URL): Query => new Map([...url.searchParams].map(([name, value]) => [name.toLowerCase(), value]));

const compactTimeMs = (text: string | undefined): number | undefined => {
  const parts = COMPACT_TIME.exec(text ?? '');
  if (parts === null) return undefined;
  const [, year, month, day, hour, minute, second] = parts.map(Number);
  return Date.UTC(year ?? 0, (month ?? 1) - 1, day, hour, minute, second);
};

interface Validity {
  readonly fromMs?: number;
  readonly untilMs?: number;
}

const dated = (query: Query, vendor: 'x-amz' | 'x-goog'): Validity | undefined => {
  const fromMs = compactTimeMs(query.get(`${vendor}-date`));
  const seconds = query.get(`${vendor}-expires`);
  if (fromMs === undefined || seconds === undefined || !/^\d+$/.test(seconds)) return undefined;
  return { fromMs, untilMs: fromMs + Number(seconds) * 1_000 };
};

/** Amazon and Google before their version 4: the seconds since 1970. */
const untilEpochSecond = (query: Query): Validity | undefined => {
  const seconds = query.get('expires');
  const signed = query.has('signature') || query.has('key-pair-id');
  return signed && seconds !== undefined && /^\d+$/.test(seconds) ? { untilMs: Number(seconds) * 1_000 } : undefined;
};

const azure = (query: Query): Validity | undefined => {
  if (!isAzure(query)) return undefined;
  const timeMs = (name: string) => Date.parse(query.get(name) ?? '');
  const [fromMs, untilMs] = [timeMs('st'), timeMs('se')];
  return { ...(!Number.isNaN(fromMs) && { fromMs }), ...(!Number.isNaN(untilMs) && { untilMs }) };
};

const isAzure = (query: Query): boolean => query.has('sig') && query.has('sv') && query.has('se');

const validityOf = (query: Query): Validity =>
  dated(query, 'x-amz') ?? dated(query, 'x-goog') ?? azure(query) ?? untilEpochSecond(query) ?? {};

/** When the URL stops being valid, if it says so. */
export const expiryOf = (url: string): number | undefined =>
  URL.canParse(url) ? validityOf(queryOf(new URL(url))).untilMs : undefined;

/** A shared access signature of Azure's blob storage, where a PUT must name the kind of blob that it makes. */
export const wantsBlobType = (url: URL): boolean => isAzure(queryOf(url));

const minutes = (ms: number): string => `${Math.ceil(ms / 60_000)} min`;

const timeProblem = (query: Query, { nowMs, minValidMs }: UploadUrlRules): UploadUrlProblem | undefined => {
  const { fromMs, untilMs } = validityOf(query);
  if (fromMs !== undefined && fromMs > nowMs + CLOCK_TOLERANCE_MS)
    return {
      trap: 'not-yet-valid',
      text: 'The URL is valid only from a later time on. Check the clock of its signer.',
    };
  if (untilMs === undefined) return undefined;
  const until = new Date(untilMs).toISOString();
  if (untilMs <= nowMs) return { trap: 'expired', text: `The URL expired at ${until}. Sign a new one.` };
  if (untilMs - nowMs < minValidMs)
    return {
      trap: 'expires-soon',
      text: `The URL expires at ${until}, which is too soon: it must be valid for ${minutes(minValidMs)} at least. Sign one that is valid until the recording is uploaded.`,
    };
  return undefined;
};

const checksumProblem = (query: Query): UploadUrlProblem | undefined => {
  for (const [name, value] of query) {
    if (!CHECKSUM_PARAMETER.test(name) || value === 'UNSIGNED-PAYLOAD') continue;
    return EMPTY_CHECKSUMS.has(value)
      ? {
          trap: 'empty-body-checksum',
          text: `The URL is signed with the checksum of an empty body (${name}), so the store refuses every file. Sign it without a checksum; with the AWS SDK set requestChecksumCalculation to "WHEN_REQUIRED".`,
        }
      : {
          trap: 'fixed-checksum',
          text: `The URL is signed with the checksum of one body (${name}), which a recording can’t have. Sign it without a checksum.`,
        };
  }
  return undefined;
};

const headerProblem = (query: Query): UploadUrlProblem | undefined => {
  const signed = (query.get('x-amz-signedheaders') ?? query.get('x-goog-signedheaders') ?? 'host').toLowerCase();
  const unsendable = signed.split(';').filter((name) => !SENT_HEADERS.has(name) && !query.has(name));
  if (unsendable.length === 0) return undefined;
  return {
    trap: 'signed-header',
    text: `The URL is signed with headers that an upload doesn’t send: ${unsendable.join(', ')}. Sign only host, or host and content-type.`,
  };
};

const permissionProblem = (query: Query): UploadUrlProblem | undefined => {
  if (!isAzure(query) || /[wc]/.test(query.get('sp') ?? 'w')) return undefined;
  return { trap: 'no-write-permission', text: 'The URL’s signature permits no writing (sp). Sign it with c and w.' };
};

/**
 * What keeps a PUT of a file to this URL from succeeding, as far as the URL itself shows. It knows presigned URLs of
 * Amazon S3 and similar stores (versions 2 and 4), of Google's storage and of Azure's. The outbound guard checks the
 * address.
 */
export const uploadUrlProblem = (text: string, rules: UploadUrlRules): UploadUrlProblem | undefined => {
  if (!URL.canParse(text)) return { trap: 'malformed', text: 'upload_url isn’t a URL.' };
  const url = new URL(text);
  if (url.protocol !== 'https:' && (rules.requireHttps || url.protocol !== 'http:'))
    return {
      trap: 'scheme',
      text: `upload_url must begin with ${rules.requireHttps ? 'https://' : 'https:// or http://'}.`,
    };
  if (url.username !== '' || url.password !== '')
    return { trap: 'credentials', text: 'upload_url must not contain a user name or password.' };
  if (url.hash !== '')
    return { trap: 'fragment', text: 'upload_url has a fragment (#), which no server gets. Encode # as %23.' };
  const query = queryOf(url);
  return timeProblem(query, rules) ?? checksumProblem(query) ?? headerProblem(query) ?? permissionProblem(query);
};
