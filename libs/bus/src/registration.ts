/** Something that was started on the bus. */
export interface Registration {
  /** Takes nothing new and resolves when what runs has ended. Idempotent. */
  close(): Promise<void>;
}
