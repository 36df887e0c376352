import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { createServer } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { afterwards } from '../serve/serve.fixture.ts';

/** One session as the engine has it. */
export interface EngineSession {
  readonly request: IncomingMessage;
  readonly socket: Socket;
  /** All messages of the client, in order. */
  readonly messages: string[];
  /** Code of the client's close; 0 as long as none came. */
  closeCode: number;
  send(message: string | Buffer): boolean;
  close(code: number): void;
}

function frame(opcode: number, payload: Buffer): Buffer {
  const { length } = payload;
  const head = Buffer.alloc(length < 126 ? 2 : length < 65_536 ? 4 : 10);
  head[0] = 0x80 | opcode;
  if (length < 126) head[1] = length;
  else if (length < 65_536) {
    head[1] = 126;
    head.writeUInt16BE(length, 2);
  } else {
    head[1] = 127;
    head.writeBigUInt64BE(BigInt(length), 2);
  }
  return Buffer.concat([head, payload]);
}

/** One whole masked frame at the start of the bytes, or undefined. */
function parse(bytes: Buffer): { opcode: number; payload: Buffer; used: number } | undefined {
  if (bytes.length < 2) return undefined;
  if ((bytes[1]! & 0x80) === 0) throw new Error('a client must mask');
  const short = bytes[1]! & 0x7f;
  const at = short < 126 ? 2 : short === 126 ? 4 : 10;
  if (bytes.length < at + 4) return undefined;
  const length = short < 126 ? short : short === 126 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2));
  const used = at + 4 + length;
  if (bytes.length < used) return undefined;
  const payload = Buffer.from(bytes.subarray(at + 4, used));
  for (let index = 0; index < length; index++) payload[index] = payload[index]! ^ bytes[at + (index & 3)]!;
  return { opcode: bytes[0]! & 0x0f, payload, used };
}

/** An engine that speaks WebSocket by itself; it echoes unless told otherwise. Gives its origin. */
export async function websocketEngine(
  onMessage: (session: EngineSession, message: string) => void = (session, message) => session.send(message),
  options: { refuse?: (request: IncomingMessage, socket: Socket) => boolean } = {},
): Promise<{ origin: string; sessions: EngineSession[] }> {
  const sessions: EngineSession[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((_request, response) => response.writeHead(404).end());
  server.on('upgrade', (request, stream) => {
    const socket = stream as Socket;
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('end', () => socket.end());
    if (options.refuse?.(request, socket) === true) return;
    const accept = createHash('sha1')
      .update(`${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
      .digest('base64');
    const chosen = request.headers['sec-websocket-protocol']?.split(',')[0]?.trim();
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: ${accept}\r\n` +
        `${chosen === undefined ? '' : `sec-websocket-protocol: ${chosen}\r\n`}x-engine: mine\r\n\r\n`,
    );
    const session: EngineSession = {
      request,
      socket,
      messages: [],
      closeCode: 0,
      send: (message) => socket.write(frame(typeof message === 'string' ? 1 : 2, Buffer.from(message))),
      close(code) {
        socket.end(frame(8, Buffer.from([code >> 8, code & 0xff])));
      },
    };
    sessions.push(session);
    let held = Buffer.alloc(0);
    socket.on('data', (chunk: Buffer) => {
      held = Buffer.concat([held, chunk]);
      for (let next = parse(held); next !== undefined; next = parse(held)) {
        held = held.subarray(next.used);
        if (next.opcode === 8) {
          session.closeCode = next.payload.length < 2 ? 1005 : next.payload.readUInt16BE(0);
          if (!socket.writableEnded) socket.end(frame(8, next.payload));
          continue;
        }
        const text = next.payload.toString('utf8');
        session.messages.push(text);
        onMessage(session, text);
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  afterwards(() => {
    for (const socket of sockets) socket.destroy();
    return new Promise((resolve) => server.close(() => resolve()));
  });
  return { origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, sessions };
}
