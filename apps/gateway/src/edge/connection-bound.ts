import type { Server } from 'node:net';
import type { Registry } from '#libs/observability';
import { Counter, Gauge } from '#libs/observability';
import { edgeLimits } from './limits.ts';

/** Holds a listener to so many connections at once, whatever they speak; the next one is closed at once and counted. */
export function boundConnections(
  listener: Server,
  registry: Registry,
  connectionsMax: number = edgeLimits.clientConnectionsMax,
): void {
  listener.maxConnections = connectionsMax;
  const registers = [registry];
  const refused = new Counter({
    name: 'lintel_gateway_client_connections_refused_total',
    help: `Connections of clients closed at once, since ${connectionsMax} were open`,
    registers,
  });
  listener.on('drop', () => refused.inc());
  const open: Gauge = new Gauge({
    name: 'lintel_gateway_client_connections',
    help: 'Connections of clients now',
    registers,
    collect: async () =>
      await new Promise<void>((resolve) =>
        listener.getConnections((_error, count) => {
          open.set(count ?? 0);
          resolve();
        }),
      ),
  });
}
