import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { request as requestPlain } from 'node:http';
import { request as requestTls } from 'node:https';
import type { Socket } from 'node:net';
import { isIP } from 'node:net';
import { secured } from '../edge/upstream-tls.ts';
import type { Target } from '../serve/upstream/connection.ts';

/** Who asked an engine for a WebSocket. Exactly one of the three, once. */
export interface UpgradeCaller {
  onUpgrade(answer: IncomingMessage, socket: Socket, head: Buffer): void;
  /** An answer that is no upgrade. `body` is its beginning. */
  onAnswer(answer: IncomingMessage, body: Buffer): void;
  /** `connected`: the engine had taken the connection. */
  onFailure(message: string, connected: boolean): void;
}

export interface UpgradeRequest {
  readonly target: Target;
  readonly path: string;
  /** Names and values, flat. */
  readonly headers: readonly string[];
  readonly headBytesMax: number;
  readonly bodyBytesMax: number;
}

/** Ends it; its caller is told nothing more. Nothing once it was told. */
export type Cancel = () => void;

/** Asks an engine to upgrade. */
export function askUpgrade(asked: UpgradeRequest, caller: UpgradeCaller): Cancel {
  const { target, path, headers, headBytesMax, bodyBytesMax } = asked;
  const { host, port, tls, trust, lookup } = target;
  let over = false;
  let connected = false;
  const once = (tell: () => void): void => {
    if (over) return;
    over = true;
    tell();
  };
  const request = (tls ? requestTls : requestPlain)({
    host,
    port,
    path,
    method: 'GET',
    headers,
    agent: false,
    ...(lookup === undefined ? {} : { lookup }),
    maxHeaderSize: headBytesMax,
    ...(tls ? { servername: isIP(host) === 0 ? host : '', ...secured(trust) } : {}),
  });
  request.on('socket', (socket) => {
    socket.on(tls ? 'secureConnect' : 'connect', () => (connected = true));
    socket.setNoDelay(true);
  });
  request.on('upgrade', (answer, socket, head) => {
    // Its errors are the session's from now on; until then nobody may be without a listener.
    socket.on('error', () => {});
    once(() => caller.onUpgrade(answer, socket as Socket, head));
  });
  request.on('response', (answer) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    const told = (): void => once(() => caller.onAnswer(answer, Buffer.concat(chunks).subarray(0, bodyBytesMax)));
    answer.on('data', (chunk: Buffer) => {
      chunks.push(chunk);
      bytes += chunk.length;
      if (bytes < bodyBytesMax) return;
      told();
      request.destroy();
    });
    answer.on('end', told);
    answer.on('error', (error) => once(() => caller.onFailure(error.message, true)));
  });
  request.on('error', (error) => once(() => caller.onFailure(error.message, connected)));
  request.on('close', () => once(() => caller.onFailure('it closed the connection', connected)));
  request.end();
  return () => once(() => request.destroy());
}

const acceptGuid = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

/** What a WebSocket server must answer to this key (RFC 6455, 4.2.2). */
export const acceptOf = (key: string): string =>
  createHash('sha1')
    .update(key + acceptGuid)
    .digest('base64');
