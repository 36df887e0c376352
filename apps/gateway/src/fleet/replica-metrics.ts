import { Counter, Gauge, type Registry } from '#libs/observability';
import { fleetLimits } from './limits.ts';
import type { LiveFleet } from './live-fleet.ts';
import type { LiveReplica } from './replica.ts';
import type { Waker } from './waker.ts';

/** `lintel_gateway_replica_*`: read from the fleet when somebody scrapes, at no cost otherwise. */
export function exposeReplicas(fleet: LiveFleet, registry: Registry, nowMs: () => number): void {
  const labelled = (): { replica: LiveReplica; name: string }[] =>
    fleet.replicas.map((replica, index) => ({
      replica,
      name: index < fleetLimits.replicaLabelsMax ? replica.id : 'other',
    }));
  const gauge = (name: string, help: string, valueOf: (replica: LiveReplica) => number | undefined): void => {
    const made = new Gauge({
      name: `lintel_gateway_replica_${name}`,
      help,
      labelNames: ['replica'],
      registers: [registry],
      collect: () => {
        made.reset();
        for (const { replica, name: label } of labelled()) {
          const value = valueOf(replica);
          // Unknown is left out: it is not zero.
          if (value !== undefined) made.inc({ replica: label }, value);
        }
      },
    });
  };
  gauge('inflight', 'Requests that this gateway has on the replica', ({ inflight }) => inflight);
  gauge('inflight_elsewhere', 'Requests that other gateways last said they have on it', (r) => r.elsewhere.requests);
  gauge('waiting', 'Requests waiting in the engine', ({ observation }) => observation.load?.waiting);
  gauge('running', 'Requests running in the engine', ({ observation }) => observation.load?.running);
  gauge('kv_use', 'Share of KV blocks in use', ({ observation }) => observation.load?.kvUse);
  gauge('warmth', 'Slow start, 0 to 1', (replica) => replica.warmthAt(nowMs()));
  gauge('values_age_seconds', 'Age of the polled values', ({ observation: { loadAtMs } }) =>
    loadAtMs === undefined ? undefined : (nowMs() - loadAtMs) / 1000,
  );
  const state = new Gauge({
    name: 'lintel_gateway_replica_state',
    help: '1 for the state that the replica is in',
    labelNames: ['replica', 'state'],
    registers: [registry],
    collect: () => {
      state.reset();
      for (const { replica, name } of labelled()) state.inc({ replica: name, state: replica.routabilityAt(nowMs()) });
    },
  });
  const counter = (
    name: string,
    help: string,
    label: string,
    valuesOf: (r: LiveReplica) => Record<string, number>,
  ): void => {
    const made = new Counter({
      name: `lintel_gateway_replica_${name}`,
      help,
      labelNames: ['replica', label],
      registers: [registry],
      collect: () => {
        made.reset();
        for (const { replica, name: replicaName } of labelled()) {
          for (const [value, count] of Object.entries(valuesOf(replica))) {
            made.inc({ replica: replicaName, [label]: value }, count);
          }
        }
      },
    });
  };
  counter('requests_total', 'Attempts by what they said of the replica', 'verdict', ({ ended }) => ({ ...ended }));
  counter('polls_total', 'Polls by their end', 'end', ({ observation: { polls, failedPolls } }) => ({
    ok: polls - failedPolls,
    failed: failedPolls,
  }));
  counter('circuit_total', 'Openings of the circuit', 'change', ({ circuit }) => ({ opened: circuit.opened }));
  const ejections: Counter = new Counter({
    name: 'lintel_gateway_ejections_total',
    help: 'Replicas that this gateway took out of its routing',
    registers: [registry],
    collect: () => {
      ejections.reset();
      ejections.inc(fleet.ejector.ejections);
    },
  });
  const gateways: Gauge = new Gauge({
    name: 'lintel_gateway_peers',
    help: 'Other gateways heard lately',
    registers: [registry],
    collect: () => gateways.set(fleet.exchange.gateways),
  });
}

export function exposeWaker(waker: Waker, registry: Registry): void {
  const requested: Counter = new Counter({
    name: 'lintel_gateway_wakes_requested_total',
    help: 'Events of this gateway that a model is wanted of which no replica takes requests',
    registers: [registry],
    collect: () => {
      requested.reset();
      requested.inc(waker.requested);
    },
  });
}
