/** What became of each request, by its index; NaN and -1 until it is there. */
export class Outcomes {
  readonly arrivedMs: Float64Array;
  readonly firstTokenMs: Float64Array;
  readonly finishedMs: Float64Array;
  readonly replica: Int32Array;
  readonly promptTokens: Float64Array;
  readonly outputTokens: Float64Array;
  readonly cachedTokens: Float64Array;
  /** In order of arrival. */
  readonly order: number[] = [];

  constructor(readonly count: number) {
    const unknown = (): Float64Array => new Float64Array(count).fill(Number.NaN);
    this.arrivedMs = unknown();
    this.firstTokenMs = unknown();
    this.finishedMs = unknown();
    this.promptTokens = unknown();
    this.outputTokens = unknown();
    this.cachedTokens = unknown();
    this.replica = new Int32Array(count).fill(-1);
  }
}
