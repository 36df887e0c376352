export const tokensLimits = {
  /** Characters of new text that are encoded at once; more goes to the thread. */
  atOnceCharsMax: 8_192,
  /** Bytes of a body whose tokens are looked for. */
  bodyBytesMax: 8 * 1024 * 1024,
  /** Prompts that wait for the thread, and their characters. */
  waitingMax: 64,
  waitingCharsMax: 32 * 1024 * 1024,
  /** For one prompt on the thread, its wait included. */
  encodeMsMax: 30_000,
  /** Requests whose tokens are compared with the engine's after the files were read, and from then on each of so many. */
  checkedFirst: 3,
  checkEach: 1_000,
  checkBodyBytesMax: 64 * 1024,
  checkMsMax: 5_000,
  /** How often a model's files are looked at. */
  filesLookMs: 10_000,
} as const;

export type TokensLimits = { readonly [name in keyof typeof tokensLimits]: number };
