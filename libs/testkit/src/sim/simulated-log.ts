import type {
  Appended,
  EventLog,
  Follow,
  Following,
  Head,
  PreparedCommit,
  PublishAnswer,
  StoredCommit,
} from '#libs/event-log';
import { appendSettled, subjectFilter } from '#libs/event-log';
import { CodedError } from '#libs/kernel';
import type { SimBroker } from './broker.ts';
import type { Network } from './network.ts';
import type { SimProcess } from './process.ts';

const pageMax = 64;
const holdMs = 2_000;
const readTriesMax = 4;

/** How an append is carried through; the plants of the simulator's own test put a wrong one in its place. */
export type Settle = typeof appendSettled;

/** One process's client of the simulated broker: the port of the log over a network that loses, doubles and delays. */
export class SimulatedEventLog implements EventLog {
  readonly durability = 'disk';
  #closed = false;

  constructor(
    private readonly process: SimProcess,
    private readonly broker: SimBroker,
    private readonly network: Network,
    private readonly settle: Settle = appendSettled,
  ) {}

  append(commit: PreparedCommit, expected: Head): Promise<Appended> {
    if (this.#closed) return Promise.reject(unavailable('closed'));
    return this.settle(this, commit, expected, this.process.environment);
  }

  async publish(commit: PreparedCommit, expectedSeq: number): Promise<PublishAnswer> {
    const answer = await this.network.request<PublishAnswer>(this.process, this.broker, 'publish', (reply) =>
      this.broker.publish(commit, expectedSeq, reply),
    );
    return answer ?? { kind: 'unknown', why: 'no answer' };
  }

  readSubject(subject: string, afterSeq: number): Promise<StoredCommit[]> {
    return this.#ask('read subject', () => this.broker.ofSubject(subject, afterSeq));
  }

  async *read(range: { fromSeq: number; toSeq?: number; subjects?: readonly string[] }): AsyncIterable<StoredCommit> {
    const wanted = subjectFilter(range.subjects);
    const last = Math.min(range.toSeq ?? Number.POSITIVE_INFINITY, await this.lastSeq());
    for (let seq = Math.max(1, range.fromSeq); seq <= last;) {
      const from = seq;
      const page = await this.#ask('read', () => this.broker.range(from, Math.min(last, from + pageMax - 1)));
      for (const commit of page) if (wanted(commit.subject)) yield commit;
      seq += Math.max(1, page.length);
    }
  }

  async follow(options: Follow, handler: (commit: StoredCommit) => void | Promise<void>): Promise<Following> {
    if (this.#closed) throw unavailable('closed');
    const { process, broker, network } = this;
    const wanted = subjectFilter(options.subjects);
    const stopped = Promise.withResolvers<undefined>();
    const life = { running: true };
    const stop = (): void => {
      life.running = false;
      stopped.resolve(undefined);
    };
    const run = async (): Promise<void> => {
      let nextSeq = Math.max(1, options.fromSeq);
      while (life.running && !this.#closed) {
        const from = nextSeq;
        // A long poll: answered when there is something, asked again when no answer comes.
        const asked = network.request<StoredCommit[]>(
          process,
          broker,
          'follow',
          (reply) => broker.whenAt(from, () => reply(broker.range(from, from + pageMax - 1))),
          holdMs,
        );
        const page = await Promise.race([asked, stopped.promise]);
        for (const commit of page ?? []) {
          if (!life.running) return;
          if (commit.seq < nextSeq) continue;
          nextSeq = commit.seq + 1;
          if (!wanted(commit.subject)) continue;
          const handled = handler(commit);
          if (handled !== undefined) await handled;
        }
      }
    };
    const ended = run();
    ended.catch(() => {});
    return {
      ended,
      async stop() {
        stop();
        await ended.catch(() => {});
      },
    };
  }

  lastSeq(): Promise<number> {
    return this.#ask('last sequence', () => this.broker.commits.length);
  }

  async close(): Promise<void> {
    this.#closed = true;
  }

  async #ask<T>(label: string, serve: () => T): Promise<T> {
    for (let attempt = 0; attempt < readTriesMax && !this.#closed; attempt++) {
      const answer = await this.network.request<T>(this.process, this.broker, label, (reply) => reply(serve()));
      if (answer !== undefined) return answer;
    }
    throw unavailable(`${label}: no answer`);
  }
}

const unavailable = (why: string): CodedError => new CodedError('LOG_UNAVAILABLE', `simulated log: ${why}`);
