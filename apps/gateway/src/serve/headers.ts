/** What happens to a request's header on its way to the engine. */
const enum Use {
  Pass,
  Drop,
  Authorization,
  Traceparent,
  RequestId,
  AcceptEncoding,
}

/** Hop-by-hop, made anew by us, or ours to read alone. */
const requestUses = new Map<string, Use>(
  [
    'connection',
    'keep-alive',
    'proxy-connection',
    'proxy-authorization',
    'proxy-authenticate',
    'te',
    'trailer',
    'transfer-encoding',
    'upgrade',
    'http2-settings',
    'expect',
    'host',
    'content-length',
    // Bodies are decoded here: routing reads them, and engines mostly cannot.
    'content-encoding',
    'target-pod',
    'target-pod-ip',
    'prefill-target-pod',
    'prefill-target-pod-ip',
    'external-filter',
    'config-profile',
    'x-request-timeout-ms',
    'x-data-parallel-rank',
  ].map((name) => [name, Use.Drop] as const),
);
requestUses.set('authorization', Use.Authorization);
requestUses.set('x-api-key', Use.Authorization);
requestUses.set('traceparent', Use.Traceparent);
requestUses.set('accept-encoding', Use.AcceptEncoding);
requestUses.set('x-request-id', Use.RequestId);

/** Names of a `connection` header: they end at this hop, too. */
function nominated(connection: string): readonly string[] {
  const lower = connection.toLowerCase();
  if (lower === 'keep-alive' || lower === 'close') return nothing;
  return lower.split(',').map((name) => name.trim());
}

const nothing: readonly string[] = [];

export interface ForwardedHead {
  readonly rawHeaders: readonly string[];
  readonly connection: string | undefined;
  /** Undefined where the client itself did not say: then it is sent in chunks. */
  readonly bodyBytes: number | undefined;
  /** The client's own `authorization` goes on where nobody checks it here. */
  readonly passAuthorization: boolean;
  /** False where we have to read, and change, what comes. */
  readonly passEncodings: boolean;
  /** Set where the client gave none. */
  readonly requestId: string;
  /** Of our own span; undefined passes the client's on. */
  readonly traceparent: string | undefined;
}

/** The request's head without what differs by replica: `host` and the engine's key are put in front by `headFor`. */
export function forwardedHead(given: ForwardedHead): string {
  const { rawHeaders, connection, passAuthorization, traceparent } = given;
  const ends = connection === undefined ? nothing : nominated(connection);
  let head = '';
  let requestId = '';
  for (let index = 0; index + 1 < rawHeaders.length; index += 2) {
    const name = rawHeaders[index] as string;
    let use = requestUses.get(name);
    if (use === undefined) {
      const lower = name.toLowerCase();
      use = requestUses.get(lower) ?? (lower.startsWith('x-lintel-') || ends.includes(lower) ? Use.Drop : Use.Pass);
    }
    const value = rawHeaders[index + 1] as string;
    switch (use) {
      case Use.Pass:
        head += `${name}: ${value}\r\n`;
        break;
      case Use.Authorization:
        if (passAuthorization) head += `${name}: ${value}\r\n`;
        break;
      case Use.Traceparent:
        if (traceparent === undefined) head += `${name}: ${value}\r\n`;
        break;
      case Use.AcceptEncoding:
        if (given.passEncodings) head += `${name}: ${value}\r\n`;
        break;
      case Use.RequestId:
        requestId ||= value;
        break;
      case Use.Drop:
        break;
    }
  }
  head += `x-request-id: ${requestId === '' ? given.requestId : requestId}\r\n`;
  if (traceparent !== undefined) head += `traceparent: ${traceparent}\r\n`;
  return given.bodyBytes === undefined
    ? `${head}transfer-encoding: chunked\r\n\r\n`
    : `${head}content-length: ${given.bodyBytes}\r\n\r\n`;
}

export interface ReplicaHead {
  readonly method: string;
  readonly path: string;
  readonly address: string;
  readonly credential: string | undefined;
  /** Milliseconds that the client still waits; undefined where it did not say. */
  readonly timeoutMs: number | undefined;
  /** Of the data-parallel engines behind the server. */
  readonly rank?: number | undefined;
}

export function headFor({ method, path, address, credential, timeoutMs, rank }: ReplicaHead, common: string): string {
  let start = `${method} ${path} HTTP/1.1\r\nhost: ${address}\r\n`;
  if (credential !== undefined) start += `authorization: Bearer ${credential}\r\n`;
  if (timeoutMs !== undefined) start += `x-request-timeout-ms: ${timeoutMs}\r\n`;
  if (rank !== undefined) start += `x-data-parallel-rank: ${rank}\r\n`;
  return start + common;
}

/** The value of a header in a raw list, by its name in lower case. */
export function rawHeader(headers: readonly string[], lower: string): string | undefined {
  for (let index = 0; index + 1 < headers.length; index += 2) {
    const name = headers[index] as string;
    if (name.length === lower.length && (name === lower || name.toLowerCase() === lower)) return headers[index + 1];
  }
  return undefined;
}

/** One text of a header that may come more than once, or undefined. */
export function single(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value[0] : value;
}

/** How often a header stands in a raw list. */
export function countHeader(rawHeaders: readonly string[], lower: string): number {
  let found = 0;
  for (let index = 0; index < rawHeaders.length; index += 2) if (rawHeaders[index]?.toLowerCase() === lower) found++;
  return found;
}

/** A day: a target beyond it is none. */
const sloMsMax = 86_400_000;

/** A target of the client, whole milliseconds; 0 where none is named. What says nothing is not heard. */
export function sloOf(said: string | string[] | undefined): number {
  if (said === undefined) return 0;
  const value = single(said) ?? '';
  const ms = /^\d{1,8}$/.test(value) ? Number(value) : 0;
  return ms <= sloMsMax ? ms : 0;
}

const requestTimeoutMsMax = 86_400_000;

/** How long the client waits: for ever where it does not say; undefined where it says so in no way that means something. */
export function timeoutOf(said: string | string[] | undefined): number | undefined {
  if (said === undefined) return Number.POSITIVE_INFINITY;
  const timeoutMs = /^\d{1,8}$/.test(String(said)) ? Number(said) : 0;
  return timeoutMs < 1 || timeoutMs > requestTimeoutMsMax ? undefined : timeoutMs;
}
