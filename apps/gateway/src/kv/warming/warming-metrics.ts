import type { Registry } from '#libs/observability';
import { Gauge } from '#libs/observability';
import type { Warmer } from './warmer.ts';

/** Read when asked. */
export function exposeWarming(warmer: Warmer, registry: Registry): void {
  const gauge = (name: string, help: string, read: () => number): void => {
    const made: Gauge = new Gauge({ name, help, registers: [registry], collect: () => made.set(read()) });
  };
  gauge('lintel_gateway_kv_warming_prefixes', 'Hot prefixes whose tokens are kept.', () => warmer.hot.size);
  gauge('lintel_gateway_kv_warming_kept_tokens', 'Their tokens.', () => warmer.hot.keptTokens);
  gauge('lintel_gateway_kv_warming_sent_tokens', 'Prompt tokens sent to warm replicas.', () => warmer.sentTokens);
  gauge('lintel_gateway_kv_warming_cached_tokens', 'Of them, those that engines had.', () => warmer.cachedTokens);
  const decisions: Gauge<'result'> = new Gauge({
    name: 'lintel_gateway_kv_warming_replicas',
    help: 'Replicas that came new or empty, by what was decided or how warming them ended.',
    labelNames: ['result'],
    registers: [registry],
    collect: () => {
      for (const [result, count] of warmer.decisions) decisions.set({ result }, count);
    },
  });
}
