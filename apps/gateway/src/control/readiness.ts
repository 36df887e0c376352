import type { Broker } from '#libs/event-log';
import { HealthBoard } from '#libs/observability';
import type { LiveFleet } from '../fleet/live-fleet.ts';
import type { GatewayFolds } from './folds.ts';
import type { Recording } from './recording.ts';

export interface ReadinessParts {
  readonly broker: Broker;
  readonly folds: GatewayFolds;
  readonly fleet: LiveFleet;
  readonly recording: Recording;
  /** What requests wait for; undefined where they are served. */
  readonly waitsFor: () => string | undefined;
  /** Commands and queries are answered. */
  readonly answering: () => boolean;
  readonly stopping: () => boolean;
}

/** How each dependency stands. Requests are served while the broker and the commands are away; records wait on disk. */
export function readinessOf(parts: ReadinessParts): HealthBoard {
  const { broker, folds, fleet, recording, waitsFor, answering, stopping } = parts;
  let servedOnce = false;
  return new HealthBoard()
    .add({
      name: 'gateway',
      required: true,
      check: () => (stopping() ? { state: 'down', detail: 'stopping' } : { state: 'up' }),
    })
    .add({
      name: 'broker',
      required: false,
      check: () =>
        broker.connected
          ? { state: 'up', detail: broker.description }
          : { state: 'degraded', detail: 'away; requests are served, records wait on disk' },
    })
    .add({ name: 'log', required: true, check: () => logState(folds) })
    .add({
      name: 'configuration',
      required: true,
      check: () => {
        const detail = waitsFor();
        return detail === undefined ? { state: 'up' } : { state: 'unknown', detail };
      },
    })
    .add({
      name: 'commands',
      required: false,
      check: () => (answering() ? { state: 'up' } : { state: 'degraded', detail: 'not answered yet' }),
    })
    .add({
      name: 'replicas',
      required: true,
      check: () => {
        const { replicas } = fleet;
        const ready = replicas.filter((replica) => replica.routability() === 'ready').length;
        const detail = `${ready} of ${replicas.length} ready`;
        if (ready > 0) {
          servedOnce = true;
          return { state: 'up', detail };
        }
        // Once it has served, it stays: a client is better off with this gateway's answer than with none.
        return servedOnce ? { state: 'degraded', detail } : { state: 'unknown', detail };
      },
    })
    .add({ name: 'recording', required: false, check: () => recording.health() });
}

function logState({ route, tenancy }: GatewayFolds): ReturnType<Parameters<HealthBoard['add']>[0]['check']> {
  for (const fold of [route, tenancy]) {
    if (fold.status === 'halted') {
      const detail = `the fold of ${fold.name} halted at ${fold.seq}: ${fold.failure?.message ?? ''}`;
      // What was folded before stays in force.
      return { state: fold.caughtUp ? 'degraded' : 'down', detail };
    }
    if (!fold.caughtUp) {
      const why = fold.failure === undefined ? '' : `: ${fold.failure.message}`;
      return { state: 'unknown', detail: `${fold.name} is not read yet${why}` };
    }
    if (fold.status === 'waiting') {
      return { state: 'degraded', detail: `${fold.name} stands at ${fold.seq}, the log is away` };
    }
  }
  return { state: 'up', detail: `routing at ${route.seq}, tenancy at ${tenancy.seq}` };
}
