import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:http';
import { once } from 'node:events';
import type { Environment } from '#libs/kernel';
import type { EdgeConfig } from '#libs/nest-kit';
import { listenError } from '#libs/nest-kit';
import { startEdge } from '../edge/index.ts';

const edgeIdleMs = 10_000;

/**
 * Holds the port while the broker is not there yet, so that probes get the truth: the process lives, it is not ready, and what it
 * waits for. @throws PORT_TAKEN, PORT_DENIED, HOST_INVALID
 */
export async function waitingServer(
  { host, port, edge: config }: { host: string; port: number; edge?: EdgeConfig | undefined },
  environment: Environment,
  waitsFor: () => string,
  /** Those that it stands in for join it on the port. */
  shared = false,
): Promise<{ close(): Promise<void> }> {
  const { front } = await startEdge({ config, environment, say: () => {}, idleMs: edgeIdleMs, requestMs: edgeIdleMs });
  const serve = (request: IncomingMessage, response: ServerResponse): void => {
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
  };
  const server = createServer(serve);
  front?.behind({ http1: (socket) => void server.emit('connection', socket), serve });
  const listener = front?.listener ?? server;
  try {
    listener.listen({ port, host, reusePort: shared });
    await once(listener, 'listening');
  } catch (cause) {
    front?.close();
    throw listenError(cause, { host, port, portBy: '--port', hostBy: '--host' });
  }
  return {
    close: async () => {
      const closed = once(listener, 'close');
      listener.close();
      front?.close();
      server.closeAllConnections();
      await closed;
    },
  };
}
