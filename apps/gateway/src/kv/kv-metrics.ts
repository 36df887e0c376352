import type { Registry } from '#libs/observability';
import { Gauge } from '#libs/observability';
import type { HitCounts, PreciseIndex } from './precise-index.ts';

/** Read when asked: nothing here costs anything between two scrapes. */
export function exposeKv(kv: PreciseIndex, registry: Registry): void {
  const gauge = (name: string, help: string, read: () => number): void => {
    const made: Gauge = new Gauge({ name, help, registers: [registry], collect: () => made.set(read()) });
  };
  const byReplica = (name: string, help: string, read: (hits: HitCounts) => number): void => {
    const made: Gauge<'replica'> = new Gauge({
      name,
      help,
      labelNames: ['replica'],
      registers: [registry],
      collect: () => {
        made.reset();
        for (const [replica, hits] of kv.hits) made.set({ replica }, read(hits));
      },
    });
  };
  const { fold } = kv;
  gauge('lintel_gateway_kv_blocks', "Distinct blocks in the index of the engines' own events.", () => fold.index.size);
  gauge('lintel_gateway_kv_bytes', 'Memory of its arrays.', () => fold.index.bytes);
  gauge('lintel_gateway_kv_events', 'Events of engines that it folded.', () => fold.counts.events);
  gauge('lintel_gateway_kv_gaps', 'Holes in the stream of KV events.', () => fold.counts.gaps);
  gauge('lintel_gateway_kv_resets', 'Engines of which all that was known became void.', () => fold.counts.resets);
  gauge('lintel_gateway_kv_snapshots', 'Snapshots folded.', () => fold.counts.snapshots);
  gauge('lintel_gateway_kv_problems', 'Frames and batches that could not be read.', () => kv.problems);
  byReplica('lintel_gateway_kv_predicted_cached_tokens', 'Cached tokens expected, exactly.', (h) => h.predictedTokens);
  byReplica(
    'lintel_gateway_kv_reported_cached_tokens',
    'Of the same requests, as the engine said.',
    (h) => h.reportedTokens,
  );
  byReplica('lintel_gateway_kv_answers', 'Answers to requests that were routed exactly.', (h) => h.requests);
  byReplica('lintel_gateway_kv_answers_equal', 'Of them, as many tokens cached as expected.', (h) => h.equal);
  const degraded: Gauge<'why'> = new Gauge({
    name: 'lintel_gateway_kv_degraded',
    help: 'Requests whose tokens were known, routed by text all the same.',
    labelNames: ['why'],
    registers: [registry],
    collect: () => {
      for (const [why, count] of kv.degraded) degraded.set({ why }, count);
    },
  });
}
