/** A subscription, a served method or a worker on the bus. */
export interface Registration {
  /** Accepts nothing new and resolves when the running handlers have ended. Idempotent. */
  close(): Promise<void>;
}
