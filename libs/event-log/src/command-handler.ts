import type { EventRegistry } from '#libs/contracts';
import { subjects } from '#libs/contracts';
import type { Environment } from '#libs/kernel';
import { CodedError, errorCode } from '#libs/kernel';
import { AggregateCache } from './aggregate.ts';
import { commitIdBase, commitIdOf } from './chain.ts';
import type { ReasonInit } from './codec.ts';
import { CommitDecoder, prepareCommit } from './codec.ts';
import type { Head } from './commit.ts';
import type { Decider, DomainEvent } from './decider.ts';
import { limits } from './limits.ts';
import type { EventLog } from './port.ts';
import type { ReaderRegistry } from './readers.ts';
import { requireReaders } from './readers.ts';
import { retryDelayMs } from './settle.ts';

export interface HandleOptions<Event extends DomainEvent = DomainEvent> {
  /** Names the command for ever: the same id given again finds the first outcome. */
  readonly commandId: string;
  /** Who asked, where it was not the handler's own actor. */
  readonly actor?: string | undefined;
  readonly causeId?: string | undefined;
  readonly correlationId?: string | undefined;
  readonly traceparent?: string | undefined;
  /** Why, with inputs and alternatives. A function is asked after the decision. */
  readonly reason?: ReasonInit | ((events: readonly Event[]) => ReasonInit) | undefined;
}

export interface Handled {
  /** Sequence of the commit, or of the aggregate's head where nothing changed. */
  readonly seq: number;
  readonly version: number;
  /** Empty where nothing changed. */
  readonly commitId: string;
  readonly events: readonly DomainEvent[];
  /** When the broker stored the commit, by its clock; undefined where nothing changed. */
  readonly storedAtMs?: number | undefined;
  /** Between which times of the monotonic clock that was; undefined where this call did not append it. */
  readonly appendedMs?: { readonly from: number; readonly to: number } | undefined;
  /** False where the command asked for what is so already. A retry of a command that changed something says true. */
  readonly changed: boolean;
}

export interface CommandHandlerOptions {
  readonly log: EventLog;
  readonly registry: EventRegistry;
  readonly environment: Environment;
  /** "<app>:<instance>", "cli:<user>" or "reconciler:<name>". */
  readonly actor: string;
  /** With it, an event type is written only when each live reader can decode it. */
  readonly readers?: ReaderRegistry | undefined;
  /** A LogFold that follows the aggregates: saves the read when its head is the one already known. */
  readonly heads?: { headOf(subject: string): Head } | undefined;
}

/** decide → prepare → append → accepted. A command takes effect once, however often it is given. */
export class CommandHandler {
  readonly #options: CommandHandlerOptions;
  readonly #aggregates: AggregateCache;

  constructor(options: CommandHandlerOptions) {
    this.#options = options;
    this.#aggregates = new AggregateCache(options.log, new CommitDecoder(options.registry));
  }

  /**
   * @throws what `decide` refuses with · LOG_CONFLICT others kept coming first · LOG_UNAVAILABLE, LOG_FULL,
   *   LOG_TOO_LARGE, LOG_FORBIDDEN as the log says · SCHEMA_NOT_READY a live reader is too old
   */
  async handle<State, Command, Event extends DomainEvent>(
    decider: Decider<State, Command, Event>,
    aggregateId: string,
    command: Command,
    options: HandleOptions<Event>,
  ): Promise<Handled> {
    const { log, environment } = this.#options;
    const subject = subjects.event(decider.context, decider.aggregate, aggregateId);
    const base = commitIdBase(options.commandId, decider.context, decider.aggregate, aggregateId);
    const known = this.#options.heads?.headOf(subject);
    let aggregate = await this.#aggregates.load(decider, subject, known);
    let appendedMs: Handled['appendedMs'];
    for (let attempt = 1; ; attempt++) {
      const before = aggregate.commits.get(base);
      if (before !== undefined) return { ...before, changed: true };
      const events = decider.decide(aggregate.state, command);
      // Taken with the decision: another call may move the kept aggregate on while this one waits.
      const { head, expectation } = aggregate;
      if (events.length === 0) return { seq: head.seq, version: head.version, commitId: '', events, changed: false };
      const commit = this.#prepare(
        decider,
        aggregateId,
        commitIdOf(base, aggregate.forkedOf(base)),
        head,
        events,
        options,
      );
      if (this.#options.readers !== undefined) {
        requireReaders(await this.#options.readers.levels(), decider.context, commit.schemaLevel);
      }
      const from = environment.clock.monotonicMs();
      try {
        await log.append(commit, expectation);
        appendedMs = { from, to: environment.clock.monotonicMs() };
      } catch (thrown) {
        if (errorCode(thrown) !== 'LOG_CONFLICT') throw thrown;
        if (attempt >= limits.decideAttemptsMax) throw thrown;
        if (attempt > 1) await environment.timers.sleep(retryDelayMs(attempt, environment));
      }
      // The acknowledgement says stored; only the fold says accepted.
      aggregate = await this.#aggregates.load(decider, subject);
      const own = aggregate.commits.get(base);
      if (own !== undefined) return { ...own, changed: true, appendedMs };
      if (attempt >= limits.decideAttemptsMax) {
        throw new CodedError('LOG_CONFLICT', `${commit.commitId} was forked out ${attempt} times`, {
          advice: 'Give the command again.',
        });
      }
    }
  }

  #prepare<State, Command, Event extends DomainEvent>(
    decider: Decider<State, Command, Event>,
    id: string,
    commitId: string,
    head: Head,
    events: readonly Event[],
    options: HandleOptions<Event>,
  ): ReturnType<typeof prepareCommit> {
    const { registry, environment, actor } = this.#options;
    const { causeId, correlationId, traceparent } = options;
    const by = options.actor ?? actor;
    const reason = typeof options.reason === 'function' ? options.reason(events) : options.reason;
    return prepareCommit({
      registry,
      subject: { context: decider.context, aggregate: decider.aggregate, id },
      commitId,
      head,
      events,
      context: { atMs: environment.clock.nowMs(), actor: by, causeId, correlationId, traceparent, reason },
    });
  }
}
