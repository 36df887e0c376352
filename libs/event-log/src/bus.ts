/** Small texts beside a message; names are case-insensitive on the wire, so write them in lower case. */
export type BusHeaders = Readonly<Record<string, string>>;

export interface BusMessage {
  readonly bytes: Uint8Array;
  readonly headers: BusHeaders;
}

/** Ends a subscription. */
export type Stop = () => Promise<void>;

export interface Requester {
  /**
   * Asks one responder of the subject. A CodedError that its handler threw arrives here with its code, message and
   * advice. @throws BUS_NO_RESPONDER · BUS_DEADLINE · BUS_UNAVAILABLE · any code of the handler
   */
  request(
    subject: string,
    bytes: Uint8Array,
    options: { deadlineMs: number; headers?: BusHeaders },
  ): Promise<BusMessage>;
}

export interface RequestContext {
  readonly subject: string;
  readonly headers: BusHeaders;
  /** Milliseconds left until the requester gives up, when the request came in. */
  readonly deadlineMs: number;
}

export interface Responder {
  /** Members of a queue share its requests. What the handler throws travels to the requester. */
  respond(
    subject: string,
    queue: string,
    handler: (bytes: Uint8Array, context: RequestContext) => Promise<Uint8Array | BusMessage>,
  ): Promise<Stop>;
}

/** Last value wins; nothing is kept, nobody waits. */
export interface Telemetry {
  publish(subject: string, bytes: Uint8Array): void;
  /** `pattern` may hold NATS wildcards. */
  subscribe(pattern: string, handler: (subject: string, bytes: Uint8Array) => void): Promise<Stop>;
}

/** Limits of the bus, named in both adapters. */
export const busLimits = { deadlineMsMax: 60_000, messageBytesMax: 1024 * 1024 } as const;
