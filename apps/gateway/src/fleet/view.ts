import type { MessageInitShape } from '@bufbuild/protobuf';
import { create } from '@bufbuild/protobuf';
import { route } from '#libs/contracts';
import type { LiveReplica } from './replica.ts';

/** What ListReplicas says of a replica: as registered, with the engine that answers where none was named. */
export function viewOf(replica: LiveReplica, nowMs: number): MessageInitShape<typeof route.ReplicaViewSchema> {
  const { observation, registration, draining } = replica;
  const { load, loadAtMs, healthAtMs, healthy, asleep, lastError } = observation;
  const values: Record<string, number> = { inflight: replica.inflight + replica.elsewhere.requests };
  for (const name of ['waiting', 'running', 'kvUse'] as const) {
    const value = load?.[name];
    if (value !== undefined) values[name] = value;
  }
  values['warmth'] = replica.warmthAt(nowMs);
  return {
    registration: create(route.ReplicaRegisteredSchema, { ...registration, engine: observation.engine }),
    draining,
    healthy: healthy === true || (replica.provider !== undefined && replica.routabilityAt(nowMs) === 'ready'),
    circuit: replica.circuitAt(nowMs),
    healthAgeMs: healthAtMs === undefined ? 0 : nowMs - healthAtMs,
    values,
    valuesAgeMs: loadAtMs === undefined ? 0 : nowMs - loadAtMs,
    lastError: [replica.ejected ? 'ejected by this gateway' : '', asleep ? 'asleep' : '', lastError]
      .filter((text) => text !== '')
      .join('; '),
    servedModels: (replica.models() ?? []).map(({ id }) => id),
  };
}
