import type { Environment } from '#libs/kernel';
import type { Registry } from '#libs/observability';
import { createRegistry, Gauge } from '#libs/observability';
import type { Engines } from './follow/engines.ts';

/** Read when asked: nothing here costs anything between two scrapes. */
export function newRegistry(engines: Engines, { clock }: Environment): Registry {
  const registry = createRegistry('kv-index');
  const gauge = (name: string, help: string, read: () => number): void => {
    const made: Gauge = new Gauge({ name, help, registers: [registry], collect: () => made.set(read()) });
  };
  const { fold } = engines;
  const { counts, identity } = fold;
  const following = () => [...engines.followers.values()];
  gauge('lintel_kv_index_replicas', 'Replicas with KV events.', () => engines.followers.size);
  gauge('lintel_kv_index_replicas_led', 'Of them, those that this process follows.', () => {
    return following().filter(({ leads }) => leads).length;
  });
  gauge('lintel_kv_index_replicas_exact', 'Of them, those of which all is known.', () => {
    const nowMs = clock.monotonicMs();
    return [...engines.followers.keys()].filter((id) => fold.exact(id, nowMs)).length;
  });
  gauge('lintel_kv_index_blocks', 'Distinct blocks in the index.', () => fold.index.size);
  gauge('lintel_kv_index_holdings', 'Blocks held, over all replicas, media and groups.', () => fold.index.holdings);
  gauge('lintel_kv_index_bytes', "Memory of the index's arrays.", () => fold.index.bytes);
  gauge('lintel_kv_index_blocks_refused', 'Blocks that found no room in the index.', () => fold.index.refused);
  gauge('lintel_kv_index_waiting_bytes', 'Engine batches that wait for the broker.', () => {
    return following().reduce((sum, { waitingBytes }) => sum + waitingBytes, 0);
  });
  gauge('lintel_kv_index_given_up', 'Times that the broker did not take what an engine said.', () => {
    return following().reduce((sum, { givenUp }) => sum + givenUp, 0);
  });
  gauge('lintel_kv_index_engine_events', 'Events of engines that were folded.', () => counts.events);
  gauge('lintel_kv_index_gaps', 'Holes in the stream of KV events.', () => counts.gaps);
  gauge('lintel_kv_index_resets', 'Engines of which all that was known became void.', () => counts.resets);
  gauge('lintel_kv_index_snapshots', 'Snapshots folded.', () => counts.snapshots);
  gauge('lintel_kv_index_orphans', 'Blocks behind a parent that is not known.', () => identity.counts.orphans);
  gauge('lintel_kv_index_problems', 'What could not be read of engines and of the stream.', () => {
    return engines.problems + following().reduce((sum, { problems }) => sum + problems, 0);
  });
  return registry;
}
