import { METHODS } from 'node:http';
import { cleanValue, isBlank, nameAt, nameEnd, sameName } from './syntax.ts';

/** A request's line and headers, read. */
export class RequestHead {
  method = '';
  url = '';
  /** Of HTTP/1. */
  minor = 1;
  /** Name, value, name, value … as sent. */
  rawHeaders: string[] = [];
  /** By name in lower case; what comes more than once as node:http gives it. */
  headers: Record<string, string | string[] | undefined> = {};
  /** -1 where none was said. */
  contentLength = -1;
  chunked = false;
  keepAlive = true;
  expects: 'nothing' | 'continue' | 'other' = 'nothing';
  /** The client asks for another protocol. */
  upgrade = false;
}

/** Why a head is none. 'large' has too much of what would do. */
export type HeadProblem = 'malformed' | 'large';

const methods = new Set(METHODS);
/** Node keeps the first of these and joins the others. */
const single = new Set(
  (
    'age authorization content-length content-type etag expires from host if-modified-since if-unmodified-since last-modified ' +
    'location max-forwards proxy-authorization referer retry-after server user-agent'
  ).split(' '),
);

/** Position behind "POST /path HTTP/1.1\r\n", or -1. */
function readLine(text: string, head: RequestHead): number {
  let lineEnd = text.indexOf('\r\n');
  if (lineEnd < 0) lineEnd = text.length;
  const methodEnd = text.indexOf(' ');
  const targetEnd = lineEnd - 9;
  if (methodEnd <= 0 || targetEnd <= methodEnd + 1) return -1;
  head.method = text.slice(0, methodEnd);
  if (!methods.has(head.method)) return -1;
  for (let at = methodEnd + 1; at < targetEnd; at++) {
    const code = text.charCodeAt(at);
    if (code <= 0x20 || code >= 0x7f) return -1;
  }
  if (!text.startsWith(' HTTP/1.', targetEnd)) return -1;
  const minor = text.charCodeAt(lineEnd - 1) - 0x30;
  if (minor !== 0 && minor !== 1) return -1;
  head.minor = minor;
  head.url = text.slice(methodEnd + 1, targetEnd);
  return lineEnd + 2;
}

function put(headers: RequestHead['headers'], lower: string, value: string): void {
  const before = headers[lower];
  if (before === undefined) headers[lower] = lower === 'set-cookie' ? [value] : value;
  else if (Array.isArray(before)) before.push(value);
  else if (!single.has(lower)) headers[lower] = `${before}${lower === 'cookie' ? '; ' : ', '}${value}`;
}

function readConnection(head: RequestHead, value: string): void {
  const lower = value.toLowerCase();
  if (lower === 'keep-alive') head.keepAlive = true;
  else if (lower === 'close') head.keepAlive = false;
  else {
    const options = lower.split(',').map((option) => option.trim());
    head.upgrade ||= options.includes('upgrade');
    if (options.includes('close')) head.keepAlive = false;
    else if (options.includes('keep-alive')) head.keepAlive = true;
  }
}

/** Reads a head without its last empty line; strict: what could be read in two ways is refused. */
export function readHead(text: string, headersMax: number): RequestHead | HeadProblem {
  const head = new RequestHead();
  let at = readLine(text, head);
  if (at < 0) return 'malformed';
  const { rawHeaders } = head;
  const headers: RequestHead['headers'] = Object.create(null);
  head.headers = headers;
  head.keepAlive = head.minor === 1;
  let hosts = 0;
  let protocol = false;
  while (at < text.length) {
    let end = text.indexOf('\r\n', at);
    if (end < 0) end = text.length;
    const colon = nameEnd(text, at, end);
    if (colon < 0) return 'malformed';
    const { name, lower } = nameAt(text, at, colon);
    let from = colon + 1;
    let to = end;
    while (from < to && isBlank(text.charCodeAt(from))) from++;
    while (to > from && isBlank(text.charCodeAt(to - 1))) to--;
    if (!cleanValue(text, from, to)) return 'malformed';
    const value = text.slice(from, to);
    if (rawHeaders.push(name, value) > 2 * headersMax) return 'large';
    put(headers, lower, value);
    switch (lower.length) {
      case 4:
        if (lower === 'host') hosts++;
        break;
      case 6:
        if (lower === 'expect') head.expects = sameName(value, '100-continue') ? 'continue' : 'other';
        break;
      case 7:
        if (lower === 'upgrade') protocol = true;
        break;
      case 10:
        if (lower === 'connection') readConnection(head, value);
        break;
      case 14:
        if (lower !== 'content-length') break;
        if (head.contentLength >= 0 || !/^[0-9]{1,15}$/.test(value)) return 'malformed';
        head.contentLength = Number(value);
        break;
      case 17:
        if (lower !== 'transfer-encoding') break;
        if (head.chunked || head.minor === 0 || !sameName(value, 'chunked')) return 'malformed';
        head.chunked = true;
        break;
      default:
    }
    at = end + 2;
  }
  if (head.chunked && head.contentLength >= 0) return 'malformed';
  if (hosts > 1 || (hosts === 0 && head.minor === 1)) return 'malformed';
  head.upgrade &&= protocol;
  return head;
}
