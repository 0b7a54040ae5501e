/** The log of the gateway's parts: each line has a constant message and fields. */
export interface EdgeLog {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}
