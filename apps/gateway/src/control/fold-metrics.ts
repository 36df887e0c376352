import { Gauge, type Registry } from '#libs/observability';
import type { GatewayFolds } from './folds.ts';

/** Where the folds of the log stand. */
export function exposeFolds({ route, tenancy }: GatewayFolds, registry: Registry): void {
  const gauge = (name: string, help: string, valueOf: (fold: typeof route | typeof tenancy) => number): void => {
    const made: Gauge = new Gauge({
      name: `lintel_gateway_fold_${name}`,
      help,
      labelNames: ['fold'],
      registers: [registry],
      collect: () => {
        for (const fold of [route, tenancy]) made.set({ fold: fold.name }, valueOf(fold));
      },
    });
  };
  gauge('seq', 'Sequence of the log up to which it is folded', ({ seq }) => seq);
  gauge('forked', 'Commits that did not extend the chain and were ignored', ({ forked }) => forked);
  gauge('following', '1 while it follows the log', ({ status }) => (status === 'following' ? 1 : 0));
  gauge('from_snapshot', '1 where it began at a snapshot', ({ fromSnapshot }) => (fromSnapshot ? 1 : 0));
}
