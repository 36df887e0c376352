import { createServer } from 'node:http';
import { once } from 'node:events';
import { cannotListen } from '../http-server.ts';

/**
 * Holds the port while the broker is not there yet, so that probes get the truth: the process lives, it is not ready, and what it
 * waits for. @throws PORT_TAKEN, ADDRESS_UNUSABLE
 */
export async function waitingServer(
  host: string,
  port: number,
  waitsFor: () => string,
): Promise<{ close(): Promise<void> }> {
  const server = createServer((request, response) => {
    const path = (request.url ?? '').split('?', 1)[0];
    const [status, body] =
      path === '/health'
        ? [200, { status: 'ok' }]
        : path === '/ready'
          ? [
              503,
              {
                ready: false,
                state: 'down',
                dependencies: { broker: { state: 'down', detail: waitsFor(), required: true } },
              },
            ]
          : [
              503,
              {
                error: {
                  message: `The gateway is starting: ${waitsFor()}`,
                  type: 'server_error',
                  code: 'starting',
                  param: null,
                },
              },
            ];
    const headers = { 'content-type': 'application/json', 'retry-after': '1', connection: 'close' };
    response.writeHead(status as number, headers).end(JSON.stringify(body));
  });
  try {
    server.listen(port, host);
    await once(server, 'listening');
  } catch (cause) {
    throw cannotListen(cause, host, port);
  }
  return {
    close: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}
