import type { log } from '#libs/contracts';

/** A parked message as stored: the letter and where it lies. */
export interface StoredDeadLetter {
  /** Sequence in the dead-letter stream: how the CLI names it. */
  readonly id: number;
  readonly letter: log.DeadLetter;
}

/** Messages that a reactor could not handle. */
export interface DeadLetters {
  park(letter: log.DeadLetter): Promise<void>;
  /** Oldest first; `afterId` pages. */
  list(options?: { consumer?: string; afterId?: number; limit?: number }): Promise<StoredDeadLetter[]>;
  /** @throws DEAD_LETTER_UNKNOWN */
  show(id: number): Promise<StoredDeadLetter>;
  /** Gives the original message to the reactor again; done, the letter is gone. @throws DEAD_LETTER_UNKNOWN, or what the reactor throws */
  redrive(id: number): Promise<void>;
}
