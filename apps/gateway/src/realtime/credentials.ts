import type { IncomingHttpHeaders } from 'node:http';
import { single } from '../serve/headers.ts';
import type { HttpRequest } from '../serve/http/types.ts';

/** How browsers, which set no headers, give their key: as one of the subprotocols they offer. */
const keyProtocol = 'openai-insecure-api-key.';
/** Names under which the key may stand in the query, as Azure's clients send it. */
const keyParameters = new Set(['api-key', 'api_key']);

export interface Handshake {
  /** The client's key, wherever it stood; undefined where there is none. */
  readonly key: string | undefined;
  readonly model: string;
  /** Of the upgrade, without the key: '' or from the '?' on. */
  readonly query: string;
  /** Subprotocols without the key; undefined where none is left. */
  readonly protocols: string | undefined;
  /** The key stood where an engine would read it as its own. */
  readonly ambiguous: boolean;
}

const bearer = /^bearer +([^\s]+) *$/i;
const text = (value: string | string[] | undefined): string => (Array.isArray(value) ? value.join(',') : (value ?? ''));

/** Reads who asks, and for which model, out of an upgrade; what goes on is byte for byte the client's but for its key. */
export function handshakeOf(query: string, headers: IncomingHttpHeaders): Handshake {
  const keys: string[] = [];
  const authorization = bearer.exec(headers.authorization ?? '')?.[1];
  if (authorization !== undefined) keys.push(authorization);
  const apiKey = text(headers['api-key']);
  if (apiKey !== '') keys.push(apiKey);
  const offered = text(headers['sec-websocket-protocol'])
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '');
  for (const name of offered) if (name.startsWith(keyProtocol)) keys.push(name.slice(keyProtocol.length));
  const protocols = offered.filter((name) => !name.startsWith(keyProtocol));
  const kept: string[] = [];
  const models: string[] = [];
  for (const part of query.slice(1).split('&')) {
    if (part === '') continue;
    const [name, value] = pairOf(part);
    if (keyParameters.has(name)) keys.push(value);
    else kept.push(part);
    if (name === 'model') models.push(value);
  }
  return {
    key: keys[0],
    model: models[0] ?? '',
    query: kept.length === 0 ? '' : `?${kept.join('&')}`,
    protocols: protocols.length === 0 ? undefined : protocols.join(', '),
    // Two models, or two keys that differ, could be read one way here and another way by the engine.
    ambiguous: models.length > 1 || keys.some((key) => key !== keys[0]),
  };
}

/** The query with this name for its model; '' or from the '?' on. */
export function withModel(query: string, model: string): string {
  const said = `model=${encodeURIComponent(model)}`;
  const parts = query.slice(1).split('&').filter(Boolean);
  const at = parts.findIndex((part) => pairOf(part)[0] === 'model');
  if (at < 0) parts.push(said);
  else parts[at] = said;
  return `?${parts.join('&')}`;
}

function pairOf(part: string): readonly [name: string, value: string] {
  const params = new URLSearchParams(part);
  for (const pair of params) return pair;
  return ['', ''];
}

/** An upgrade to WebSocket as RFC 6455 has it. */
export function isWebSocket({ method, headers }: HttpRequest): boolean {
  return (
    method === 'GET' &&
    /^websocket$/i.test(headers.upgrade ?? '') &&
    headers['sec-websocket-version'] === '13' &&
    /^[A-Za-z0-9+/]{22}==$/.test(single(headers['sec-websocket-key']) ?? '') &&
    headers['transfer-encoding'] === undefined &&
    (headers['content-length'] ?? '0') === '0'
  );
}
