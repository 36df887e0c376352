import type { route } from '#libs/contracts';
import type { StageSeen } from '#libs/domain/route';
import type { RoomBounds } from '#libs/flow-control';
import { roomBounds, roomOf } from '#libs/flow-control';
import { CandidateTable } from '#libs/scheduling';
import type { FleetReplica } from '../../fleet/fleet.ts';

const unknown: ArrayLike<number> = [Number.NaN];
const slotsOf = new Float64Array(1);
const table = new CandidateTable();

/** How many replicas of a stage take requests, and how many of those are full. One that has not answered yet counts where none has. */
export function seenOf(
  replicas: readonly FleetReplica[],
  tried: readonly FleetReplica[],
  isFull: ((replica: FleetReplica) => boolean) | undefined,
): StageSeen {
  for (const wanted of ['ready', 'unknown'] as const) {
    let ready = 0;
    let full = 0;
    for (const replica of replicas) {
      if (replica.routability() !== wanted || tried.includes(replica)) continue;
      ready++;
      if (isFull?.(replica) === true) full++;
    }
    if (ready > 0) return { known: replicas.length, ready, full };
  }
  return { known: replicas.length, ready: 0, full: 0 };
}

/** Over one of the named bounds. What is unknown or stale says nothing. */
export function overBounds(
  replica: FleetReplica,
  { inflight, waiting, kvUse }: route.SaturationBounds,
  { signalAgeMsMax }: RoomBounds = roomBounds,
): boolean {
  table.reset();
  replica.describe(table, table.add(replica.id));
  const over = (name: 'inflight' | 'waiting' | 'kvUse', bound: number): boolean =>
    bound > 0 &&
    (table.values(name)[0] as number) >= bound &&
    (name === 'inflight' || (table.agesMs(name)[0] as number) <= signalAgeMsMax);
  return over('inflight', inflight) || over('waiting', waiting) || over('kvUse', kvUse);
}

/** Without room by its slots, or by what the engine says of its own queue. */
export function withoutRoom(replica: FleetReplica, slots: number): boolean {
  table.reset();
  replica.describe(table, table.add(replica.id));
  const labelled = Number(replica.labels['slots'] ?? Number.NaN);
  slotsOf[0] = labelled > 0 ? labelled : slots;
  const columns = {
    count: 1,
    inflight: table.values('inflight'),
    slots: slotsOf,
    waiting: table.values('waiting'),
    waitingAgeMs: table.agesMs('waiting'),
    running: table.values('running'),
    runningAgeMs: table.agesMs('running'),
    kvUse: table.values('kvUse'),
    kvUseAgeMs: table.agesMs('kvUse'),
    prefillTokens: unknown,
  };
  return roomOf(columns, 0, roomBounds) <= 0;
}
