/** Why the guard doesn't let a destination be spoken to. */
export type RefusalReason =
  /** Not an absolute URL, or one with white space, control characters or backslashes. */
  | 'malformed'
  | 'scheme'
  | 'port'
  /** A user name or password in the URL where the caller's policy doesn't expect one. */
  | 'credentials'
  /** A host that different parsers read differently: octal, decimal, shortened or percent-encoded addresses. */
  | 'ambiguous-host'
  /** The host is, or resolves to, an address that isn't on the public internet. */
  | 'address'
  | 'too-many-redirects'
  /** A redirect from https to http, one without a usable target, or one of a body that can't be sent twice. */
  | 'redirect'
  | 'response-too-large';

/** The destination is against the rules. Repeating doesn't help. */
export class OutboundRefused extends Error {
  override readonly name = 'OutboundRefused';

  /** `subject` is the host, scheme, port or address at fault; never the whole URL, which may hold secrets. */
  constructor(
    readonly reason: RefusalReason,
    readonly subject: string,
  ) {
    super(`Outbound connection refused (${reason}): ${subject}`);
  }
}

/** The destination is allowed and can't be used: that is its own trouble, or the network's, and may pass. */
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
