/** Bounds of what stands before the HTTP server. */
export const edgeLimits = {
  /** How often files of certificates are looked at. Polling sees what notifications miss: mounted secrets, renamed files. */
  filePollMs: 1_000,
  certificateFileBytesMax: 1024 * 1024,
  /** A TLS handshake, and the first bytes of a connection where a proxy or HTTP/2 may announce itself. */
  handshakeMsMax: 10_000,
  firstBytesMsMax: 5_000,
  /** Of one HTTP/2 connection. */
  streamsMax: 256,
  headerPairsMax: 128,
  headerListBytesMax: 16 * 1024,
  sessionMemoryMib: 16,
  /** Streams that a client may reset at once, and per second: beyond it the connection is closed. */
  streamResetBurst: 200,
  streamResetPerSecond: 50,
  /** How often bodies that are still to come are looked at: one is given up late by at most this. */
  uploadLookMs: 250,
  /** Of clients, over all protocols; the next one is closed at once, and counted. */
  clientConnectionsMax: 32_768,
  /** Bytes of a stream's body that may come before we have taken them. */
  streamWindowBytes: 256 * 1024,
} as const;
