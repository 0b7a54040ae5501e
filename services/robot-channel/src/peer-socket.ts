/** A peer's WebSocket, as the code that speaks over it needs it. */
export interface PeerSocket {
  send(text: string): void;
  ping(): void;
  /** A peer that doesn't answer the close frame is cut off. */
  close(code: number, reason: string): void;
  /** The bytes that were sent and that the operating system hasn't taken yet. */
  readonly bufferedBytes: number;
}

/** The events of a peer's WebSocket. */
export interface SocketListener {
  frame(text: string): void;
  binaryFrame(byteLength: number): void;
  pong(): void;
  /** May be called more than once. */
  closed(): void;
}
