/** Consecutive token ids [first, first + length). Prompts that begin with the same segments share that prefix. */
export interface Segment {
  readonly first: number;
  readonly length: number;
}

/** Token ids stay below this, so that V8 keeps them as small integers. */
export const tokenIdMax = 2 ** 30;

export interface SimRequest {
  /** 0 … count − 1, unique in its workload. */
  readonly index: number;
  /** Arrival; NaN for one that follows another. */
  readonly atMs: number;
  readonly prompt: readonly Segment[];
  readonly promptTokens: number;
  /** What the engine will generate. The router does not see it. */
  readonly outputTokens: number;
  /** Token id of the first generated token; the others count up. */
  readonly outputFirst: number;
  /** What the client says; 0 is nothing. */
  readonly maxTokens: number;
  readonly sessionId: string;
  readonly tenant: string;
  /** The next turn arrives this long after this one is finished. */
  readonly next?: { readonly afterMs: number; readonly request: SimRequest } | undefined;
}

/** A request is good when both hold. */
export interface Slo {
  readonly ttftMs: number;
  readonly tpotMs: number;
}

export interface Workload {
  readonly name: string;
  readonly slo: Slo;
  /** In order of arrival, without those that follow others. */
  readonly arrivals: readonly SimRequest[];
  /** With those that follow. */
  readonly count: number;
}

export interface WorkloadShape {
  /** About so many; a session is never cut. */
  readonly requests: number;
  readonly requestsPerS: number;
  readonly seed: number;
}

export interface WorkloadSource {
  readonly name: string;
  readonly slo: Slo;
  /** The same shape gives the same workload. */
  make(shape: WorkloadShape): Workload;
}

/** The token ids of a prompt. */
export function tokensOf(request: SimRequest): Int32Array {
  const tokens = new Int32Array(request.promptTokens);
  let at = 0;
  for (const { first, length } of request.prompt) {
    for (let offset = 0; offset < length; offset++) tokens[at++] = first + offset;
  }
  return tokens;
}

/** All requests of a workload, followers behind whom they follow. */
export function* everyRequest(workload: Workload): Generator<SimRequest> {
  for (const first of workload.arrivals) {
    for (let each: SimRequest | undefined = first; each !== undefined; each = each.next?.request) yield each;
  }
}
