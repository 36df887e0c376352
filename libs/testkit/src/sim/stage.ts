import type { SeededRng } from '#libs/kernel';
import type { SimBroker } from './broker.ts';
import type { DatabaseServer } from './database.ts';
import type { Network } from './network.ts';
import type { Oracle } from './oracle.ts';
import type { Plants } from './plants.ts';
import type { SimProcess } from './process.ts';
import type { ServedFrames } from './simulated-frames.ts';
import type { VirtualTime } from './virtual-time.ts';

/** What the actors of a run share. */
export interface Stage {
  readonly time: VirtualTime;
  readonly rng: SeededRng;
  readonly network: Network;
  readonly broker: SimBroker;
  readonly database: DatabaseServer;
  readonly frames: ServedFrames;
  readonly oracle: Oracle;
  readonly plants: Plants;
  /** Virtual time with faults and with work being given. */
  readonly stormMs: number;
  /** The storm is over: nothing new is begun, everything must come right. */
  readonly calm: boolean;
  /** Says what happened, where a trace is wanted. */
  readonly note: ((text: string) => void) | undefined;
  /** A law was broken. */
  breaks(text: string): void;
  addProcess(name: string, boot: (process: SimProcess) => void): SimProcess;
  /** kill -9, and a start some time later. */
  crash(victim: SimProcess): void;
}

/** A part of the fleet, with the laws that it must keep. */
export interface Actor {
  start?(): void;
  /** Looks at its laws, after each step. Cheap where nothing has changed. */
  look?(): void;
  /** Nothing is left to do. */
  readonly isQuiet: boolean;
  /** What is left to do, for people. */
  unfinished(): string;
  /** Laws of the end, once everybody is quiet. */
  lastLook?(): void;
}
