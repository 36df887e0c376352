import { once } from 'node:events';
import type { AddressInfo, Server, Socket } from 'node:net';
import { createServer } from 'node:net';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { systemClock } from '#libs/kernel';
import { serveLimits } from '../limits.ts';
import type { Caller, UpstreamConnection } from './connection.ts';
import { ReplicaPool } from './pool.ts';

let engine: Server;
const sockets: Socket[] = [];
let pool: ReplicaPool;
beforeAll(async () => {
  engine = createServer((socket) => {
    sockets.push(socket.on('error', () => {}));
    socket.on('data', () => socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'));
  });
  engine.listen(0, '127.0.0.1');
  await once(engine, 'listening');
  const { port } = engine.address() as AddressInfo;
  pool = new ReplicaPool(`http://127.0.0.1:${port}`, serveLimits, () => systemClock.monotonicMs());
});
afterAll(() => {
  pool.close();
  for (const socket of sockets) socket.destroy();
  engine.close();
});

/** The text of an answer, as it is told; `onBody` is told of each of its chunks. */
function ask(connection: UpstreamConnection, onBody: () => void = () => {}): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  let text = '';
  const caller: Caller = {
    onConnected: () => {},
    onHead: () => {},
    onBody: (chunk) => {
      text += chunk.toString();
      onBody();
    },
    onEnd: () => resolve(text),
    onFailure: (failure, message) => reject(new Error(`${failure}: ${message}`)),
    onWritable: () => {},
    onFault: reject,
  };
  connection.send('GET / HTTP/1.1\r\nhost: engine\r\n\r\n', Buffer.alloc(0), caller);
  return promise;
}

test('a connection whose reading was stopped in the last chunk of an answer reads the next one', async () => {
  const first = pool.acquire()!;
  // A client that has left takes nothing more: so its engine is to wait, though its answer is whole already.
  expect(await ask(first, () => first.pause())).toBe('ok');
  const second = pool.acquire()!;
  expect(second).toBe(first);
  expect(await ask(second)).toBe('ok');
}, 5_000);
