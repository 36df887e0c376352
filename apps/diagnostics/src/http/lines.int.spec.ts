import { once } from 'node:events';
import type { AddressInfo, Socket } from 'node:net';
import { connect } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { CodedError, systemEnvironment } from '#libs/kernel';
import { eventually } from '#libs/testkit';
import type { FastifyInstance } from 'fastify';
import { fastify } from 'fastify';
import type { Lines } from './lines.ts';
import { answerLines } from './lines.ts';

let server: FastifyInstance;
let stopping: AbortController;
let port: number;
let ended: 'no' | 'left' | 'failed';
let written: number;
let produce: (lines: Lines) => Promise<void>;

beforeEach(async () => {
  ended = 'no';
  written = 0;
  stopping = new AbortController();
  server = fastify();
  server.get('/', async (_request, reply) => {
    await answerLines(reply, stopping.signal, produce);
  });
  await server.listen({ port: 0, host: '127.0.0.1' });
  ({ port } = server.server.address() as AddressInfo);
});
afterEach(() => server.close());

const line = 'x'.repeat(10_000);

/** Lines without an end, until nobody reads them. */
async function endless(lines: Lines): Promise<void> {
  while (await lines.write(line)) written++;
  ended = 'left';
}

/** A client that asks and then takes nothing. */
async function silent(): Promise<Socket> {
  const socket = connect(port, '127.0.0.1');
  await once(socket, 'connect');
  socket.pause();
  socket.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n');
  return socket;
}

describe('lines', () => {
  test('wait for a reader that does not read, and end with it', async () => {
    produce = endless;
    const socket = await silent();
    // Whatever the buffers of the sockets hold is written, then nothing more.
    let before = 0;
    await eventually(async () => {
      before = written;
      await systemEnvironment.timers.sleep(100);
      expect(before).toBeGreaterThan(0);
      expect(written).toBe(before);
    });
    expect(written * line.length).toBeLessThan(20_000_000);
    expect(ended).toBe('no');
    socket.resume();
    await eventually(() => expect(written).toBeGreaterThan(before + 100));
    socket.destroy();
    await eventually(() => expect(ended).toBe('left'));
  });

  test('end when the app stops, although the reader is still there', async () => {
    produce = endless;
    const socket = await silent();
    await eventually(() => expect(written).toBeGreaterThan(0));
    stopping.abort();
    await eventually(() => expect(ended).toBe('left'));
    socket.destroy();
  });

  test('a failure after the first line is the last line; before it, an error like any other', async () => {
    produce = async (lines) => {
      await lines.write({ n: 1 });
      throw new CodedError('TEST_FAILED', 'half way', { advice: 'again' });
    };
    const whole = await fetch(`http://127.0.0.1:${port}/`);
    const lines = (await whole.text())
      .trim()
      .split('\n')
      .map((text) => JSON.parse(text) as unknown);
    expect(lines).toEqual([{ n: 1 }, { kind: 'failed', code: 'TEST_FAILED', text: 'half way', advice: 'again' }]);
    produce = async () => {
      throw new CodedError('TEST_FAILED', 'at once');
    };
    expect((await fetch(`http://127.0.0.1:${port}/`)).status).toBe(500);
  });
});
