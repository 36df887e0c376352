import type { Changes } from './changes.ts';
import type { Projection, StateRows } from './projection.ts';

/** One build of a projection's tables. */
export interface Generation {
  readonly name: string;
  readonly version: number;
  readonly generation: number;
}

export interface Opened {
  readonly generation: Generation;
  /** `building` tables are not read by anybody yet. */
  readonly phase: 'live' | 'building';
  /** Last sequence whose effect is in the tables; 0 for none. */
  readonly seq: number;
  readonly state: StateRows;
  /** False while the tables are still without their indexes. Absent where there are none to make. */
  readonly indexed?: boolean;
}

export interface Move {
  readonly fromSeq: number;
  readonly toSeq: number;
  /** Names this runner, so that a commit whose answer was lost is recognised as our own. */
  readonly writer: string;
  readonly changes: Changes;
  readonly items: number;
  readonly headSeq: number;
}

export interface Halt {
  readonly seq: number;
  readonly code: string;
  readonly reason: string;
}

/**
 * Where tables and checkpoints live. `move` is atomic: all rows and the checkpoint, or nothing.
 * Every method throws DB_UNAVAILABLE while the database is away; then the effect is unknown.
 */
export interface ProjectionStore {
  /**
   * The build to write: the live one of this version, or the one being built; made (empty) where there is none.
   * @throws PROJECTION_SHAPE_CHANGED when the tables were made from another definition of the same version
   */
  open(projection: Projection): Promise<Opened>;
  /**
   * Does what of a move can be done before its turn, while the one before is under way. The changes stay as they are from
   * here on.
   */
  prepare?(changes: Changes): void;
  /**
   * Resolves when a prepared move is on its way, or over. A large one leaves in pieces, and only while this process is not busy: whoever computes
   * in between keeps the database waiting.
   */
  sent?(changes: Changes): Promise<void> | undefined;
  /**
   * `fenced`: the checkpoint was not at `fromSeq`, or the build is retired; nothing was written.
   * @throws PROJECTION_ROW_REFUSED when the database does not take a value
   */
  move(generation: Generation, move: Move): Promise<'moved' | 'fenced'>;
  /** Makes the indexes that readers want, where they are not there yet. Moves wait meanwhile. */
  index?(projection: Projection, generation: Generation): Promise<void>;
  position(generation: Generation): Promise<{ readonly seq: number; readonly writer: string }>;
  /** Marks the rows stale. Undone by the next move. */
  halt(generation: Generation, halt: Halt): Promise<void>;
  /**
   * Makes a build under construction the live one, indexed, in one step for all readers, once it stands where the live one does.
   * `behind`: it did not get there in time; nothing changed.
   */
  swap(projection: Projection, generation: Generation): Promise<'swapped' | 'behind'>;
  /** A sign of life, with the end of the stream. */
  report(generation: Generation, headSeq: number): Promise<void>;
}
