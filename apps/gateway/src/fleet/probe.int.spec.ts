import { createServer, type Server, type Socket } from 'node:net';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { systemClock, systemTimers } from '#libs/kernel';
import { fleetLimits } from './limits.ts';
import { createProbe, isRefused } from './probe.ts';

/** What a replica may do to whoever asks it; each path is one way. */
const ways: Record<string, (socket: Socket) => void> = {
  '/good': (socket) => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi'),
  '/redirect': (socket) =>
    socket.end('HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n'),
  '/no-http': (socket) => socket.end('SSH-2.0-OpenSSH_9.9\r\n'),
  '/reset': (socket) => socket.resetAndDestroy(),
  '/silence': () => {},
  '/endless-headers': (socket) => {
    socket.write('HTTP/1.1 200 OK\r\n');
    forEver(socket, `x-${'y'.repeat(200)}: z\r\n`);
  },
  '/one-endless-header': (socket) => {
    socket.write('HTTP/1.1 200 OK\r\nx: ');
    forEver(socket, 'y'.repeat(1_000));
  },
  '/endless-body': (socket) => {
    socket.write('HTTP/1.1 200 OK\r\n\r\n');
    forEver(socket, 'y'.repeat(10_000));
  },
  '/endless-chunks': (socket) => {
    socket.write('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n');
    forEver(socket, '3e8\r\n' + 'y'.repeat(1_000) + '\r\n');
  },
  '/drip': (socket) => {
    socket.write('HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n');
    const timer = systemTimers.every(20, () => socket.write('.'));
    socket.on('close', () => timer.cancel());
  },
  '/short': (socket) => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhi'),
};

function forEver(socket: Socket, text: string): void {
  const more = (): void => {
    while (!socket.destroyed && socket.write(text));
  };
  socket.on('drain', more);
  more();
}

describe('asking a replica', () => {
  let server: Server;
  let origin: string;
  const { probe, close } = createProbe(systemTimers);
  const sockets = new Set<Socket>();

  beforeAll(async () => {
    server = createServer((socket) => {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => sockets.delete(socket));
      socket.once('data', (head) => ways[head.toString().split(' ')[1] ?? '']?.(socket));
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });

  afterAll(async () => {
    await close();
    for (const socket of sockets) socket.destroy();
    server.close();
    await once(server, 'close');
  });

  test('an answer is an answer, and a redirect is not followed', async () => {
    expect(await probe(origin, '/good', undefined, 100)).toEqual({ status: 200, text: 'hi' });
    expect(await probe(origin, '/redirect', undefined, 100)).toEqual({ status: 302, text: '' });
  });

  test.each([
    ['/no-http', /GET \/no-http: /],
    ['/reset', /GET \/reset: /],
    ['/endless-headers', /headers of over 16384 bytes/],
    ['/one-endless-header', /headers of over 16384 bytes/],
    ['/endless-body', /more than 50000 bytes/],
    ['/endless-chunks', /more than 50000 bytes/],
    ['/short', /GET \/short: /],
  ])('%s ends quickly, with its reason', async (path, reason) => {
    const startMs = systemClock.monotonicMs();
    await expect(probe(origin, path, undefined, 50_000)).rejects.toMatchObject({
      code: 'PROBE_FAILED',
      message: expect.stringMatching(reason),
    });
    expect(systemClock.monotonicMs() - startMs).toBeLessThan(fleetLimits.pollTimeoutMs);
  });

  test('L32 silence and a body that drips end at the deadline, all at once', async () => {
    const other = createProbe(systemTimers);
    const failed = await Promise.all([
      probe(origin, '/silence', undefined, 50_000).catch((error: Error) => error.message),
      other.probe(origin, '/drip', undefined, 50_000).catch((error: Error) => error.message),
    ]);
    await other.close();
    expect(failed).toEqual([
      expect.stringMatching(/^GET \/silence: /),
      `GET /drip: no whole answer in ${fleetLimits.pollTimeoutMs} ms`,
    ]);
    expect(await probe(origin, '/good', undefined, 100)).toMatchObject({ status: 200 });
  });

  test('a connection is kept, and a kept one that was closed meanwhile is no failure', async () => {
    let connections = 0;
    const keeping = createServer((socket) => {
      connections++;
      let asked = 0;
      socket.on('error', () => {});
      socket.on('data', () => {
        // The third request finds a connection that its server has given up.
        if (++asked === 3) socket.destroy();
        else socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi');
      });
    }).listen(0, '127.0.0.1');
    await once(keeping, 'listening');
    const at = `http://127.0.0.1:${(keeping.address() as AddressInfo).port}`;
    const seen: number[] = [];
    for (let asked = 0; asked < 3; asked++) {
      expect(await probe(at, '/', undefined, 100)).toEqual({ status: 200, text: 'hi' });
      seen.push(connections);
    }
    expect(seen).toEqual([1, 1, 2]);
    keeping.close();
  });

  test('a refused connection is told from everything else', async () => {
    const closed = createServer().listen(0, '127.0.0.1');
    await once(closed, 'listening');
    const { port } = closed.address() as AddressInfo;
    closed.close();
    await once(closed, 'close');
    const error: unknown = await probe(`http://127.0.0.1:${port}`, '/good', undefined, 100).catch(
      (thrown: unknown) => thrown,
    );
    expect(isRefused(error)).toBe(true);
    expect(isRefused(await probe(origin, '/reset', undefined, 100).catch((thrown: unknown) => thrown))).toBe(false);
  });
});
