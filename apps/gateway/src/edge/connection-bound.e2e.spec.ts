import type { AddressInfo, Socket } from 'node:net';
import { connect } from 'node:net';
import { afterEach, expect, test } from '@jest/globals';
import { eventually } from '#libs/testkit';
import { afterwards, closeAll, engine, gateway, rawExchange } from '../serve/serve.fixture.ts';
import { boundConnections } from './connection-bound.ts';

afterEach(closeAll);

test('a listener holds so many connections, closes the next one at once, and counts it', async () => {
  const lintel = await gateway([await engine((_body, response) => response.end('{}'))]);
  const listener = lintel.plane.front.tcpServer();
  boundConnections(listener, lintel.registry, 2);
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
  afterwards(() => void listener.close());
  const { port } = listener.address() as AddressInfo;
  const open = async (): Promise<Socket> => {
    const socket = connect(port, '127.0.0.1');
    socket.on('error', () => {});
    afterwards(() => void socket.destroy());
    await new Promise((resolve) => socket.once('connect', resolve));
    return socket;
  };
  const asked = 'GET /v1/models HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n';
  const [first] = [await open(), await open()];
  await eventually(async () => expect(await lintel.registry.metrics()).toContain('client_connections 2'));
  expect(await rawExchange(port, [asked])).toBe('');
  expect(await lintel.registry.metrics()).toContain('lintel_gateway_client_connections_refused_total 1');
  first.destroy();
  await eventually(async () => expect(await lintel.registry.metrics()).toContain('client_connections 1'));
  expect(await rawExchange(port, [asked])).toMatch(/^HTTP\/1\.1 200 /);
});
