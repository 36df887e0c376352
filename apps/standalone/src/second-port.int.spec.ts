import { createServer, type IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { secondPort } from './second-port.ts';

const seen: IncomingMessage[] = [];
let gone: () => void = () => {};
const server = createServer((request, response) => {
  seen.push(request);
  if (request.url === '/endless') {
    response.write('begun');
    response.on('close', () => gone());
    return;
  }
  request.pipe(response);
});
let second: Awaited<ReturnType<typeof secondPort>>;
beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  second = await secondPort('127.0.0.1', 0, (server.address() as { port: number }).port);
});
afterAll(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

test('bytes pass both ways', async () => {
  const body = 'x'.repeat(1_000_000);
  const answer = await fetch(`http://127.0.0.1:${second.port}/echo`, { method: 'POST', body });
  expect(await answer.text()).toBe(body);
});

test('a client that leaves is seen behind it, and a stop cuts what is open', async () => {
  for (const leave of ['client', 'stop'] as const) {
    const left = new Promise<void>((resolve) => (gone = resolve));
    const client = connect(second.port, '127.0.0.1');
    const closed = new Promise((resolve) => client.once('close', resolve));
    client.on('error', () => {});
    client.write('GET /endless HTTP/1.1\r\nhost: x\r\n\r\n');
    await new Promise((resolve) => client.once('data', resolve));
    if (leave === 'client') client.destroy();
    else await second.stop();
    await Promise.all([left, closed]);
  }
  expect(seen.filter(({ url }) => url === '/endless')).toHaveLength(2);
});
