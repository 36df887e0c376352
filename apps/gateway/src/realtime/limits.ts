/** Bounds of WebSocket sessions. */
export interface RealtimeLimits {
  /** Sessions at once; they count among the requests in flight, too. */
  readonly sessionsMax: number;
  /** From the connection to the engine's 101. */
  readonly openMsMax: number;
  /** Not a byte either way. */
  readonly idleMsMax: number;
  readonly sessionMsMax: number;
  /** One side takes nothing of what waits for it. */
  readonly stallMsMax: number;
  /** For the other side to close after it was told to. */
  readonly closeMsMax: number;
  /** What a client sends before it was answered. */
  readonly earlyBytesMax: number;
  /** Of an engine's answer that is no upgrade. */
  readonly refusalBytesMax: number;
}

export const realtimeLimits: RealtimeLimits = {
  sessionsMax: 4_096,
  openMsMax: 10_000,
  idleMsMax: 300_000,
  sessionMsMax: 3_600_000,
  stallMsMax: 60_000,
  closeMsMax: 2_000,
  earlyBytesMax: 64 * 1024,
  refusalBytesMax: 64 * 1024,
};
