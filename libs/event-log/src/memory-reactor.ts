import type { log } from '#libs/contracts';
import type { Environment } from '#libs/kernel';
import { CodedError } from '#libs/kernel';
import type { CommitDecoder, DecodedCommit } from './codec.ts';
import type { StoredCommit } from './commit.ts';
import type { DeadLetters, StoredDeadLetter } from './dead-letters.ts';
import type { EventLog, Following } from './port.ts';
import { Reaction, SubjectAcceptance } from './reactor.ts';

/** Dead letters in memory; `redrive` gives the message back to whoever registered for the consumer. */
export class MemoryDeadLetters implements DeadLetters {
  readonly #letters = new Map<number, log.DeadLetter>();
  readonly #redrivers = new Map<string, (seq: number) => Promise<void>>();
  #lastId = 0;

  async park(letter: log.DeadLetter): Promise<void> {
    this.#letters.set(++this.#lastId, letter);
  }

  async list(options: { consumer?: string; afterId?: number; limit?: number } = {}): Promise<StoredDeadLetter[]> {
    const { consumer, afterId = 0, limit = 100 } = options;
    return [...this.#letters]
      .filter(([id, letter]) => id > afterId && (consumer === undefined || letter.consumer === consumer))
      .slice(0, limit)
      .map(([id, letter]) => ({ id, letter }));
  }

  async show(id: number): Promise<StoredDeadLetter> {
    const letter = this.#letters.get(id);
    if (letter === undefined) throw new CodedError('DEAD_LETTER_UNKNOWN', `no dead letter ${id}`);
    return { id, letter };
  }

  async redrive(id: number): Promise<void> {
    const { letter } = await this.show(id);
    const redrive = this.#redrivers.get(letter.consumer);
    if (redrive === undefined) {
      throw new CodedError('DEAD_LETTER_NO_REACTOR', `${letter.consumer} is not running here`, {
        advice: 'Start the app that owns the reactor, then drive the letter again.',
      });
    }
    await redrive(letter.seq);
    this.#letters.delete(id);
  }

  onRedrive(consumer: string, redrive: (seq: number) => Promise<void>): void {
    this.#redrivers.set(consumer, redrive);
  }
}

/** A reactor over any EventLog in this process. It starts at `fromSeq`; nothing of its progress is durable. */
export class MemoryReactor {
  readonly #reaction: Reaction;
  #following: Following | undefined;
  #stopped = false;

  constructor(
    private readonly options: {
      readonly consumer: string;
      readonly log: EventLog;
      readonly decoder: CommitDecoder;
      readonly environment: Environment;
      readonly deadLetters: MemoryDeadLetters;
      readonly subjects?: readonly string[];
      readonly handler: (commit: DecodedCommit) => Promise<void>;
      readonly deliveriesMax?: number;
    },
  ) {
    this.#reaction = new Reaction({ ...options, acceptance: new SubjectAcceptance(options.log) });
    options.deadLetters.onRedrive(options.consumer, (seq) => this.#redrive(seq));
  }

  async start(fromSeq = 1): Promise<void> {
    const { log, subjects } = this.options;
    this.#following = await log.follow(subjects === undefined ? { fromSeq } : { fromSeq, subjects }, (commit) =>
      this.#deliver(commit),
    );
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#following?.stop();
  }

  async #deliver(commit: StoredCommit): Promise<void> {
    for (let deliveries = 1; !this.#stopped; deliveries++) {
      const outcome = await this.#reaction.deliver(commit, deliveries);
      if (outcome.action === 'done') return;
      if (outcome.action === 'park') return this.options.deadLetters.park(outcome.letter);
      await this.options.environment.timers.sleep(outcome.delayMs);
    }
  }

  async #redrive(seq: number): Promise<void> {
    for await (const commit of this.options.log.read({ fromSeq: seq, toSeq: seq })) {
      const outcome = await this.#reaction.deliver(commit, 1);
      if (outcome.action === 'again') throw outcome.error;
      if (outcome.action === 'park') throw new CodedError(outcome.letter.errorCode, outcome.letter.errorMessage);
    }
  }
}
