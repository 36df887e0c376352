import type { SeededRng } from '#libs/kernel';

/** What can go wrong, each a probability per message or a rate; 0 switches the kind off. */
export interface Faults {
  /** A request never arrives. */
  readonly lostRequest: number;
  /** It arrives and takes effect, the answer never does. */
  readonly lostAck: number;
  /** It arrives twice. */
  readonly duplicate: number;
  /** A message takes many times longer, and others overtake it. */
  readonly delay: number;
  /** Messages take their time independently, so that they arrive in another order than they were sent. */
  readonly reorder: number;
  /** Crashes of one process per virtual second. */
  readonly crash: number;
  /** A process dies in the middle of a write to its disk. */
  readonly tornWrite: number;
  /** Partitions of one process from broker and database per virtual second. */
  readonly partition: number;
  /** Clocks differ by up to this, and jump. */
  readonly clockSkewMs: number;
  /** 1: the broker is a cluster that checks an expectation before it proposes, so that commits can fork. */
  readonly fork: number;
  /** Crashes of the broker per virtual second: what it had not stored is gone, and it is away for a while. */
  readonly broker: number;
  /** The database dies before it takes a call, or between taking it and answering, and is away for a while. */
  readonly database: number;
}

export const everyFault: Faults = {
  lostRequest: 0.03,
  lostAck: 0.06,
  duplicate: 0.04,
  delay: 0.04,
  reorder: 0.3,
  crash: 0.15,
  tornWrite: 0.03,
  partition: 0.1,
  clockSkewMs: 60_000,
  fork: 1,
  broker: 0.15,
  database: 0.03,
};

export type FaultKind = keyof Faults;
export const faultKinds = Object.keys(everyFault) as readonly FaultKind[];

/** Only these kinds, each as strong as in `everyFault`. */
export function onlyFaults(kinds: readonly FaultKind[]): Faults {
  return Object.fromEntries(
    faultKinds.map((kind) => [kind, kinds.includes(kind) ? everyFault[kind] : 0]),
  ) as unknown as Faults;
}

export const noFaults: Faults = onlyFaults([]);

/** Switches whole kinds off, each with even chance: some bugs show only where another kind does not get in the way. */
export function swarm(faults: Faults, rng: SeededRng): Faults {
  return onlyFaults(faultKinds.filter((kind) => rng.chance(0.5) && faults[kind] > 0));
}

/** "lostAck, fork" */
export function faultNames(faults: Faults): string {
  return faultKinds.filter((kind) => faults[kind] > 0).join(', ') || 'none';
}
