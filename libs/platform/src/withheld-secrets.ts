const WITHHELD = '[withheld]';

/**
 * What lets its bearer in, by how it looks: in URLs, in headers, in what another program complained of, wherever it
 * stands. The names that stand before it stay, so that a line still tells what it was about.
 */
const SECRETS: readonly RegExp[] = [
  // A token: three parts of base64url, the first two of JSON objects.
  /()\beyJ[\w-]{8,}\.eyJ[\w-]+\.[\w-]+/g,
  // An API key; its id is no secret.
  /(\bweir_[a-z0-9]{12}_)[\w-]{43}/g,
  // A parameter of a URL or a cookie. JSON has quotes around the name and before the value.
  /((?:^|[?&;\s])(?:signature|token|tonken|ticket|password|secret)=)[^&;:\s"'\\<>)\]]+/gi,
  // The password of a URL.
  /(\b[a-z][a-z0-9+.-]*:\/\/[^\s:/?#@"'\\]*:)[^\s/?"'\\]+(?=@)/gi,
  // A header.
  /(\bauthorization["']?\s*[:=]\s*["']?(?:bearer|basic|digest)\s+)[^\s"',\\]+/gi,
];

/** The text with every secret in it replaced. What names no secret is handed back as it is. */
export const withheldSecrets = (text: string): string =>
  SECRETS.reduce((left, secret) => left.replace(secret, `$1${WITHHELD}`), text);
