import type { FlowControl } from '#libs/flow-control';
import type { Registry } from '#libs/observability';
import { latencyBucketsSeconds } from '#libs/observability';
import { Buckets, register } from '../serve/metrics.ts';
import type { QueuedRequest } from './passage.ts';

/** Queue length, waits and ends, by band. */
export class FlowMetrics {
  readonly #waits = new Map<number, Buckets>();

  constructor(registry: Registry, queue: FlowControl<QueuedRequest>) {
    register(
      registry,
      'lintel_gateway_queue_waiting',
      'Requests that wait for a replica with room, by band.',
      'gauge',
      () => {
        const byPriority = new Map<number, number>([[0, 0]]);
        queue.waitingByPriority((_pool, priority, waiting) =>
          byPriority.set(priority, (byPriority.get(priority) ?? 0) + waiting),
        );
        return [...byPriority].map(([priority, value]) => ({ labels: { priority: String(priority) }, value }));
      },
    );
    register(
      registry,
      'lintel_gateway_flow_outcomes_total',
      'Requests of profiles with flow control by how they left it; those that did not wait are dispatched too.',
      'counter',
      () => Object.entries(queue.ended).map(([outcome, value]) => ({ labels: { outcome }, value })),
    );
    const name = 'lintel_gateway_queue_seconds';
    register(registry, name, 'How long requests waited, whatever the end of their wait, by band.', 'histogram', () => {
      const out: { labels: Record<string, string | number>; value: number; metricName?: string }[] = [];
      for (const [priority, buckets] of this.#waits) buckets.samples(name, { priority: String(priority) }, out);
      return out;
    });
  }

  waited(priority: number, queuedMs: number): void {
    let buckets = this.#waits.get(priority);
    if (buckets === undefined) this.#waits.set(priority, (buckets = new Buckets(latencyBucketsSeconds)));
    buckets.observe(queuedMs / 1000);
  }
}
