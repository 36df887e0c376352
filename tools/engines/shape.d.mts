/** An exchange as the fixtures hold it: a body is JSON, text, or the lines of an event stream. */
export interface RecordedExchange {
  readonly request: {
    readonly method: string;
    readonly path: string;
    readonly headers?: Readonly<Record<string, string>>;
    readonly body?: unknown;
    readonly raw?: string;
  };
  readonly response: {
    readonly status: number;
    readonly headers: Readonly<Record<string, string>>;
    readonly body: unknown;
  };
}

export interface RecordedKvCall {
  readonly name: string;
  readonly events: readonly {
    readonly frames: readonly string[];
    readonly decoded: readonly [number, readonly Record<string, unknown>[], number];
  }[];
}

export function exchangeFacts(exchange: RecordedExchange): Set<string>;
export function kvCallFacts(call: Pick<RecordedKvCall, 'events'>): Set<string>;
export function replayFacts(replay: {
  readonly request: readonly string[];
  readonly responses: readonly { readonly frames: readonly string[] }[];
}): Set<string>;
