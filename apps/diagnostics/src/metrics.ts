import type { Registry } from '#libs/observability';
import { Counter, createRegistry, Gauge, Histogram, latencyBucketsSeconds } from '#libs/observability';
import type { RunnerHooks } from '#libs/projections';
import type { FleetFold } from './loops/fleet-fold.ts';
import type { Notary } from './loops/notary.ts';
import type { Projector } from './loops/projector.ts';

/** Labels are names of projections: a closed set. */
export function projectionHooks(registry: Registry): (projection: string) => RunnerHooks {
  const items = new Counter({
    name: 'lintel_projection_items_total',
    help: 'Commits or frames folded into rows.',
    labelNames: ['projection'],
    registers: [registry],
  });
  const rows = new Counter({
    name: 'lintel_projection_rows_total',
    help: 'Rows written.',
    labelNames: ['projection'],
    registers: [registry],
  });
  const lag = new Histogram({
    name: 'lintel_projection_lag_seconds',
    help: 'From the storage of the newest item of a batch to its rows being visible.',
    labelNames: ['projection'],
    buckets: [...latencyBucketsSeconds],
    registers: [registry],
  });
  return (projection) => ({
    onBatch: (batch) => {
      items.inc({ projection }, batch.items);
      rows.inc({ projection }, batch.rows);
      lag.observe({ projection }, Math.max(0, batch.lagMs) / 1000);
    },
  });
}

/** Read when asked: nothing here costs anything between two scrapes. */
export function watch(registry: Registry, projector: Projector, notary: Notary, fold: FleetFold): void {
  const gauge = (name: string, help: string, read: () => number): void => {
    const made: Gauge = new Gauge({ name, help, registers: [registry], collect: () => made.set(read()) });
  };
  const byProjection = (
    name: string,
    help: string,
    read: (status: ReturnType<Projector['statuses']>[number]) => number | undefined,
  ): void => {
    const made: Gauge<'projection'> = new Gauge({
      name,
      help,
      labelNames: ['projection'],
      registers: [registry],
      collect: () => {
        for (const status of projector.statuses()) {
          const value = read(status);
          if (value !== undefined) made.set({ projection: status.projection }, value);
        }
      },
    });
  };
  byProjection('lintel_projection_seq', 'Sequence up to which the rows are.', ({ seq }) => seq);
  byProjection('lintel_projection_lag_items', 'Items in the stream that are not in the rows.', ({ seq, headSeq }) =>
    seq === undefined || headSeq === undefined ? undefined : Math.max(0, headSeq - seq),
  );
  byProjection('lintel_projection_halted', '1 when it met what it cannot fold.', ({ state }) =>
    Number(state === 'halted'),
  );
  gauge('lintel_database_up', '1 when the database answers.', () => Number(projector.health().state === 'up'));
  gauge('lintel_notary_sealed_seq', 'Sequence up to which the log is sealed.', () => notary.status().sealedSeq);
  gauge('lintel_notary_head_seq', 'Sequence up to which the notary verified.', () => notary.status().headSeq);
  gauge('lintel_notary_halted', '1 when it met a history that does not fit.', () => Number(notary.status().halted));
  gauge('lintel_log_folded_seq', 'Sequence up to which the log is folded.', () => fold.headSeq);
  gauge('lintel_log_forked_commits', 'Commits that no reader accepts, since the start.', () => fold.forked);
}

export const newRegistry = (): Registry => createRegistry('diagnostics');
