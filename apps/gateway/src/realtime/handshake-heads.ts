import { STATUS_CODES } from 'node:http';

/** Headers of an upgrade that are made anew for the engine, end here, or are ours to read alone. */
const dropped = new Set([
  'host',
  'connection',
  'upgrade',
  'authorization',
  'api-key',
  'x-api-key',
  'proxy-authorization',
  'proxy-connection',
  'keep-alive',
  'te',
  'trailer',
  'transfer-encoding',
  'content-length',
  'expect',
  'target-pod',
  'target-pod-ip',
  'prefill-target-pod',
  'prefill-target-pod-ip',
  'external-filter',
  'config-profile',
  'x-request-timeout-ms',
  'x-request-id',
  'sec-websocket-protocol',
  // Without it frames stay readable: usage is read from them.
  'sec-websocket-extensions',
]);

export interface UpgradeHead {
  readonly rawHeaders: readonly string[];
  readonly address: string;
  readonly protocols: string | undefined;
  /** The whole header's value; undefined sends none. */
  readonly authorization: string | undefined;
  readonly requestId: string;
  readonly traceparent: string;
  /** Of the data-parallel engines behind the server. */
  readonly rank?: number | undefined;
  /** Somebody else's service: it gets no more of the client than it needs. */
  readonly external?: boolean;
}

/** What of an upgrade means something to somebody else's service. */
const external = /^(?:sec-websocket-(?:key|version)|openai-beta|user-agent)$/;

/** The headers of the engine's upgrade, flat. */
export function upgradeHeaders(given: UpgradeHead): string[] {
  const { rawHeaders, address, protocols, authorization, requestId, traceparent, rank } = given;
  const headers = ['host', address, 'connection', 'Upgrade', 'upgrade', 'websocket'];
  if (authorization !== undefined) headers.push('authorization', authorization);
  if (protocols !== undefined) headers.push('sec-websocket-protocol', protocols);
  if (rank !== undefined) headers.push('x-data-parallel-rank', String(rank));
  let ownId = '';
  for (let index = 0; index + 1 < rawHeaders.length; index += 2) {
    const name = rawHeaders[index] as string;
    const value = rawHeaders[index + 1] as string;
    const lower = name.toLowerCase();
    if (lower === 'x-request-id') ownId ||= value;
    if (dropped.has(lower) || lower.startsWith('x-lintel-')) continue;
    if (lower === 'traceparent' && traceparent !== '') continue;
    if (lower === 'x-data-parallel-rank' && rank !== undefined) continue;
    if (given.external === true && !external.test(lower)) continue;
    headers.push(name, value);
  }
  headers.push('x-request-id', ownId === '' || given.external === true ? requestId : ownId);
  if (given.external !== true && traceparent !== '') headers.push('traceparent', traceparent);
  return headers;
}

const ends = new Set(['connection', 'keep-alive', 'transfer-encoding', 'content-length', 'upgrade', 'trailer', 'te']);
const ours = new Set(['request-id', 'routing-strategy', 'target-pod', 'target-pod-ip', 'x-session-id']);

/** An engine's headers that go on to the client. */
export function passedHeaders(rawHeaders: readonly string[]): string[] {
  const out: string[] = [];
  for (let index = 0; index + 1 < rawHeaders.length; index += 2) {
    const name = rawHeaders[index] as string;
    const lower = name.toLowerCase();
    if (ends.has(lower) || ours.has(lower) || lower.startsWith('x-lintel-')) continue;
    out.push(name, rawHeaders[index + 1] as string);
  }
  return out;
}

/** Head of an answer to an upgrade, with the empty line. */
export function answerHead(status: number, headers: readonly string[]): string {
  let head = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? 'Error'}\r\n`;
  for (let index = 0; index + 1 < headers.length; index += 2) head += `${headers[index]}: ${headers[index + 1]}\r\n`;
  return `${head}\r\n`;
}
