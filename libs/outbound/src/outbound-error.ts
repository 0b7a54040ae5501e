/** Why the guard refuses a destination. */
export type RefusalReason =
  /** Not an absolute URL, or one with white space, control characters or backslashes. */
  | 'malformed'
  | 'scheme'
  | 'port'
  /** A user name or password in the URL where the caller's policy doesn't expect one. */
  | 'credentials'
  /** A host that parsers read in different ways: an octal, decimal, shortened or percent-encoded address. */
  | 'ambiguous-host'
  /** The host is, or resolves to, an address that isn't on the public internet. */
  | 'address'
  | 'too-many-redirects'
  /** A redirect from https to http, without a usable target, or of a request whose body can't be sent twice. */
  | 'redirect'
  | 'response-too-large';

/** The rules forbid the destination. Trying again doesn't help. */
export class OutboundRefused extends Error {
  override readonly name = 'OutboundRefused';

  /** `subject` is the forbidden host, scheme, port or address; never the whole URL, which may hold secrets. */
  constructor(
    readonly reason: RefusalReason,
    readonly subject: string,
  ) {
    super(`Outbound connection refused (${reason}): ${subject}`);
  }
}

/** The destination is allowed but can't be used now, because of a fault there or in the network that may pass. */
export class OutboundFailed extends Error {
  override readonly name = 'OutboundFailed';

  constructor(
    readonly reason: 'unresolved' | 'timeout' | 'aborted' | 'connection',
    readonly subject: string,
    options?: ErrorOptions,
  ) {
    super(`Outbound connection failed (${reason}): ${subject}`, options);
  }
}
