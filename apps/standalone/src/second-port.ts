import { connect, createServer, type Socket } from 'node:net';

/** Open connections; more are refused, as the gateway itself would. */
const connectionsMax = 4_096;

/** The port that AIBrix's clients know; `shared/design/compat.md`. */
export const aibrixPort = 8888;

/** Serves what listens on `port` on one more port, byte for byte. */
export async function secondPort(
  host: string,
  port: number,
  to: number,
): Promise<{ readonly port: number; stop(): Promise<void> }> {
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
    const gateway = connect({ host, port: to, allowHalfOpen: true, noDelay: true });
    for (const [from, other] of [
      [client, gateway],
      [gateway, client],
    ] as const) {
      sockets.add(from);
      // The end of either side is the end of both; the reason stands in the gateway's record of the request.
      from.on('error', () => other.destroy());
      from.on('close', () => {
        sockets.delete(from);
        other.destroySoon();
      });
      from.pipe(other);
    }
  });
  server.maxConnections = connectionsMax;
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host, port }, resolve);
  });
  return {
    port: (server.address() as { port: number }).port,
    stop: async () => {
      const closed = new Promise((resolve) => server.close(resolve));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}
