import type { Following } from '#libs/event-log';
import { subjectFilter } from '#libs/event-log';
import { CodedError, errorText } from '#libs/kernel';
import type { NatsLink } from './connection.ts';
import { apiCode, apiCodes, isForbidden, refused } from './errors.ts';
import { natsLimits } from './limits.ts';
import type { Delivered } from './message.ts';
import { OrderedPull } from './pull.ts';

export interface StreamReaderOptions {
  readonly link: NatsLink;
  readonly stream: string;
  /** First part of thrown codes: `LOG`, `FRAMES`. */
  readonly prefix: string;
  /** Nothing of the stream is ever dropped: without a filter a gap in the sequence is an error. */
  readonly whole: boolean;
  readonly log?: (line: string) => void;
}

/** Reads one stream in order, by consumers that are made anew behind the last message whenever one is lost. */
export class StreamReader {
  readonly #followers = new Set<Follower>();

  constructor(private readonly options: StreamReaderOptions) {}

  async state(): Promise<{ firstSeq: number; lastSeq: number }> {
    const { link, stream, prefix } = this.options;
    if (!link.connected) throw this.away();
    try {
      const { state } = await link.jsm.streams.info(stream);
      return { firstSeq: state.messages === 0 ? state.last_seq + 1 : state.first_seq, lastSeq: state.last_seq };
    } catch (cause) {
      throw refused(prefix, `${stream} does not say where it stands`, cause);
    }
  }

  away(): CodedError {
    const { link, prefix } = this.options;
    return new CodedError(`${prefix}_UNAVAILABLE`, link.closed ? 'the connection is closed' : 'nats-server is away', {
      advice: link.closed ? 'Connect again.' : 'The connection comes back by itself: try again.',
    });
  }

  async *read(
    fromSeq: number,
    toSeq: number | undefined,
    subjects: readonly string[] | undefined,
  ): AsyncGenerator<Delivered> {
    const { lastSeq } = await this.state();
    const last = Math.min(toSeq ?? lastSeq, lastSeq);
    let next = Math.max(1, fromSeq);
    if (next > last) return;
    const wanted = subjectFilter(subjects);
    for (let failures = 0; next <= last; failures++) {
      if (failures > 0) await this.#pause(failures);
      if (failures > 5) throw this.away();
      let pull: OrderedPull;
      try {
        pull = await this.#open(next, subjects);
      } catch (cause) {
        if (failures < 5 && !isForbidden(cause)) continue;
        throw refused(this.options.prefix, `cannot read ${this.options.stream}`, cause);
      }
      try {
        if (pull.pendingAtStart === 0) return;
        while (pull.lost === undefined) {
          for (const message of await pull.take()) {
            if (message.seq > last) return;
            failures = 0;
            next = message.seq + 1;
            if (wanted(message.subject)) yield message;
            if (next > last || message.pending === 0) return;
          }
        }
      } finally {
        await pull.close();
      }
    }
  }

  async follow(
    fromSeq: number,
    subjects: readonly string[] | undefined,
    handler: (message: Delivered) => void | Promise<void>,
  ): Promise<Following> {
    if (!this.options.link.connected) throw this.away();
    let first: OrderedPull;
    try {
      first = await this.#open(fromSeq, subjects);
    } catch (cause) {
      throw refused(this.options.prefix, `cannot follow ${this.options.stream}`, cause);
    }
    const follower: Follower = new Follower(first, {
      fromSeq,
      wanted: subjectFilter(subjects),
      contiguous: this.options.whole && (subjects === undefined || subjects.length === 0),
      options: this.options,
      open: (next) => this.#open(next, subjects),
      pause: (failures) => this.#pause(failures),
      handler,
      onEnd: () => this.#followers.delete(follower),
    });
    this.#followers.add(follower);
    return follower;
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#followers].map((follower) => follower.stop()));
  }

  #open(fromSeq: number, subjects: readonly string[] = []): Promise<OrderedPull> {
    const { link, stream } = this.options;
    // Servers before 2.10 know one filter: with several everything comes and is sifted here.
    const filters = subjects.length <= 1 || link.atLeast(2, 10) ? subjects : [];
    return OrderedPull.open(link, { stream, fromSeq, filters });
  }

  async #pause(failures: number): Promise<void> {
    const { environment } = this.options.link;
    const boundMs = Math.min(natsLimits.recreateWaitMsMax, natsLimits.recreateWaitMsMin * 2 ** failures);
    await environment.timers.sleep(boundMs * (0.5 + environment.rng.next() / 2));
  }
}

interface FollowerParts {
  readonly fromSeq: number;
  readonly wanted: (subject: string) => boolean;
  readonly contiguous: boolean;
  readonly options: StreamReaderOptions;
  readonly open: (fromSeq: number) => Promise<OrderedPull>;
  readonly pause: (failures: number) => Promise<void>;
  readonly handler: (message: Delivered) => void | Promise<void>;
  readonly onEnd: () => void;
}

class Follower implements Following {
  readonly ended: Promise<void>;
  #stopped = false;
  #next: number;
  #pull: OrderedPull | undefined;

  constructor(
    first: OrderedPull,
    private readonly parts: FollowerParts,
  ) {
    this.#next = parts.fromSeq;
    this.#pull = first;
    this.ended = this.#run();
    // Whoever awaits `ended` gets the rejection; one that nobody awaits is not an unhandled one.
    this.ended.catch(() => {});
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#pull?.release();
    await this.ended.catch(() => {});
  }

  async #run(): Promise<void> {
    const { options, onEnd } = this.parts;
    try {
      for (let failures = 0; !this.#stopped;) {
        this.#pull ??= await this.#reopen(failures++);
        if (this.#pull === undefined) continue;
        const before = this.#next;
        try {
          await this.#drain(this.#pull);
        } finally {
          await this.#pull.close();
        }
        if (this.#next > before) failures = 0;
        if (!this.#stopped)
          options.log?.(`nats: follows ${options.stream} anew from ${this.#next}: ${this.#pull.lost}`);
        this.#pull = undefined;
      }
    } finally {
      onEnd();
    }
  }

  /** Undefined where it did not work and may later. */
  async #reopen(failures: number): Promise<OrderedPull | undefined> {
    const { options, open, pause } = this.parts;
    if (options.link.closed) {
      throw new CodedError(`${options.prefix}_UNAVAILABLE`, 'the connection was closed under a follower');
    }
    if (failures > 0 || !options.link.connected) await pause(failures);
    if (!options.link.connected || this.#stopped) return undefined;
    try {
      return await open(this.#next);
    } catch (cause) {
      if (isForbidden(cause) || apiCode(cause) === apiCodes.streamNotFound) {
        throw refused(options.prefix, `cannot follow ${options.stream}`, cause);
      }
      options.log?.(`nats: cannot follow ${options.stream} yet: ${errorText(cause)}`);
      return undefined;
    }
  }

  async #drain(pull: OrderedPull): Promise<void> {
    const { contiguous, wanted, handler, options } = this.parts;
    while (!this.#stopped) {
      const batch = await pull.take();
      if (batch.length === 0 && pull.lost !== undefined) return;
      for (const message of batch) {
        if (this.#stopped) return;
        // A start behind the end is moved to the end by the server.
        if (message.seq < this.#next) continue;
        if (contiguous && message.seq !== this.#next) {
          throw new CodedError(
            `${options.prefix}_GAP`,
            `${options.stream} jumps from ${this.#next - 1} to ${message.seq}`,
            {
              advice: 'Commits are missing from the log: run lintel verify, and restore the stream from the archive.',
            },
          );
        }
        this.#next = message.seq + 1;
        if (!wanted(message.subject)) continue;
        const handled = handler(message);
        if (handled !== undefined) await handled;
      }
    }
  }
}
