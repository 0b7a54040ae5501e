const WITHHELD = '[withheld]';

/**
 * The forms of credentials in text: in URLs, headers, messages of other programs, anywhere. The name before a secret
 * stays, so that the line still says what it was about.
 */
const SECRETS: readonly RegExp[] = [
  // A token: three parts in base64url, the first two of them JSON objects.
  /()\beyJ[\w-]{8,}\.eyJ[\w-]+\.[\w-]+/g,
  // An API key; its id isn't secret.
  /(\bweir_[a-z0-9]{12}_)[\w-]{43}/g,
  // A parameter of a URL or a cookie. JSON has quotes around the name and before the value.
  /((?:^|[?&;\s])(?:signature|token|tonken|ticket|password|secret)=)[^&;:\s"'\\<>)\]]+/gi,
  // The password of a URL.
  /(\b[a-z][a-z0-9+.-]*:\/\/[^\s:/?#@"'\\]*:)[^\s/?"'\\]+(?=@)/gi,
  // A header.
  /(\bauthorization["']?\s*[:=]\s*["']?(?:bearer|basic|digest)\s+)[^\s"',\\]+/gi,
];

/** The text with every secret replaced; unchanged when it holds none. */
export const withheldSecrets = (text: string): string =>
  SECRETS.reduce((left, secret) => left.replace(secret, `$1${WITHHELD}`), text);
