/** A peer's WebSocket, as what speaks over it needs it. */
export interface PeerSocket {
  send(text: string): void;
  ping(): void;
  /** A peer that doesn't answer the close frame is cut off. */
  close(code: number, reason: string): void;
  /** Sent and not yet taken by the system. */
  readonly bufferedBytes: number;
}

/** What is told about a peer's WebSocket. */
export interface SocketListener {
  frame(text: string): void;
  binaryFrame(byteLength: number): void;
  pong(): void;
  /** Once, whatever the reason. */
  closed(): void;
}
