import { Counter, Gauge, type Registry } from '#libs/observability';
import type { Edge } from './edge.ts';

/** What stands before the HTTP server, as numbers. */
export function exposeEdge({ tls, front, cors, firstBytes }: Edge, registry: Registry): void {
  const gauge = (name: string, help: string, valueOf: () => number): void => {
    const collect = (): void => made.set(valueOf());
    const made: Gauge = new Gauge({ name: `lintel_gateway_${name}`, help, registers: [registry], collect });
  };
  const totals = (name: string, help: string, of: Readonly<Record<string, number>>): void => {
    const made: Counter = new Counter({
      name: `lintel_gateway_${name}_total`,
      help,
      labelNames: ['result'],
      registers: [registry],
      collect: () => {
        made.reset();
        for (const [result, count] of Object.entries(of)) made.inc({ result }, count);
      },
    });
  };
  if (tls !== undefined) {
    gauge('tls_certificate_expires_seconds', 'When the certificate in force expires, in seconds since 1970', () =>
      Math.floor(tls.expiresAtMs / 1000),
    );
    totals('tls_reloads', 'Changed certificate files, by what became of them', tls.reloads);
    totals('tls_handshakes', 'TLS handshakes of clients, by how they ended', tls.handshakes);
  }
  if (front !== undefined) gauge('http2_connections', 'Connections over HTTP/2 now', () => front.http2Sessions);
  if (cors !== undefined) totals('preflights', 'Questions of browsers before a request, by the answer', cors.counts);
  if (firstBytes !== undefined) {
    gauge('proxy_headers_refused', 'Connections closed for a broken PROXY header', () => firstBytes.refused.count);
  }
}
