import { create } from '@bufbuild/protobuf';
import type { Consumer, ConsumerMessages, JsMsg } from '@nats-io/jetstream';
import { AckPolicy, DeliverPolicy } from '@nats-io/jetstream';
import { isSubjectId, log, streams } from '#libs/contracts';
import type {
  CommitDecoder,
  DeadLetters,
  DecodedCommit,
  EventLog,
  ReactorOutcome,
  Stop,
  StoredCommit,
} from '#libs/event-log';
import { Reaction, SubjectAcceptance } from '#libs/event-log';
import { CodedError, errorText } from '#libs/kernel';
import { NatsResponder } from './bus.ts';
import type { NatsLink } from './connection.ts';
import { NatsDeadLetters, redriveSubject } from './dead-letters.ts';
import { refused } from './errors.ts';
import { natsLimits } from './limits.ts';
import { storedCommit } from './message.ts';

export interface NatsReactorOptions {
  readonly link: NatsLink;
  readonly log: EventLog;
  /** Name of the durable consumer, for ever: `<app>-<purpose>`. Instances of one name share its messages. */
  readonly consumer: string;
  /** One filter, such as `lintel.ev.route.replica.*`; servers before 2.10 know no more than one. */
  readonly subject: string;
  readonly decoder: CommitDecoder;
  /** Acknowledged after it settled. Must be idempotent by commit id: a delivery may come again after its effect. */
  readonly handler: (commit: DecodedCommit) => Promise<void>;
  readonly deadLetters?: DeadLetters;
  readonly deliveriesMax?: number;
  readonly ackWaitMs?: number;
  readonly report?: (line: string) => void;
}

/** Effects of accepted commits, each at least once, progress kept by the server; what cannot be handled is parked. */
export class NatsReactor {
  readonly counts = { done: 0, skipped: 0, again: 0, parked: 0 };
  readonly #reaction: Reaction;
  readonly #deadLetters: DeadLetters;
  readonly #ackWaitMs: number;
  #messages: ConsumerMessages | undefined;
  #running: Promise<void> | undefined;
  #stopRedrive: Stop | undefined;
  #stopped = false;

  constructor(private readonly options: NatsReactorOptions) {
    const { link, consumer } = options;
    if (!isSubjectId(consumer)) {
      throw new CodedError('REACTOR_NAME_INVALID', `"${consumer}" cannot name a reactor`, {
        advice: 'Use letters, digits, "_" and "-".',
      });
    }
    this.#deadLetters = options.deadLetters ?? new NatsDeadLetters(link);
    this.#ackWaitMs = options.ackWaitMs ?? natsLimits.reactorAckWaitMs;
    this.#reaction = new Reaction({
      consumer,
      acceptance: new SubjectAcceptance(options.log),
      decoder: options.decoder,
      environment: link.environment,
      handler: options.handler,
      ...(options.deliveriesMax === undefined ? {} : { deliveriesMax: options.deliveriesMax }),
    });
  }

  /** Makes the durable consumer where it is missing (from the first commit on) and begins. @throws REACTOR_UNAVAILABLE */
  async start(): Promise<void> {
    const { link, consumer, subject } = this.options;
    let bound: Consumer;
    try {
      await link.jsm.consumers.add(streams.events, {
        durable_name: consumer,
        ack_policy: AckPolicy.Explicit,
        deliver_policy: DeliverPolicy.All,
        ack_wait: this.#ackWaitMs * 1e6,
        // Parking is ours: the server alone would drop a message without a letter.
        max_deliver: -1,
        max_ack_pending: natsLimits.reactorAckPendingMax,
        filter_subject: subject,
      });
      bound = await link.js.consumers.get(streams.events, consumer);
      this.#stopRedrive = await new NatsResponder(link).respond(redriveSubject(consumer), consumer, async (bytes) => {
        await this.#redrive(bytes);
        return new Uint8Array();
      });
    } catch (cause) {
      throw refused('REACTOR', `reactor ${consumer} cannot start`, cause);
    }
    this.#running = this.#run(bound);
  }

  /** Waits for the handler that is at work; what was delivered and not begun comes again elsewhere. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#messages?.stop();
    await this.#stopRedrive?.();
    await this.#running;
  }

  async #run(bound: Consumer): Promise<void> {
    const { link, consumer, report = () => {} } = this.options;
    while (!this.#stopped && !link.closed) {
      try {
        const messages = await bound.consume({
          max_messages: natsLimits.reactorBatchMax,
          idle_heartbeat: natsLimits.heartbeatMs,
          expires: natsLimits.pullExpiresMs,
        });
        this.#messages = messages;
        if (this.#stopped) messages.stop();
        for await (const message of messages) {
          if (this.#stopped) break;
          await this.#deliver(message);
        }
      } catch (thrown) {
        report(`nats: reactor ${consumer}: ${errorText(thrown)}`);
      }
      if (!this.#stopped) await link.environment.timers.sleep(natsLimits.recreateWaitMsMax);
    }
  }

  async #deliver(message: JsMsg): Promise<void> {
    const { environment } = this.options.link;
    // A long effect keeps its delivery.
    const ping = environment.timers.every(this.#ackWaitMs / 3, () => message.working());
    try {
      await this.#settle(message);
    } catch (thrown) {
      // The parking failed: the delivery comes again after its wait.
      this.options.report?.(`nats: reactor ${this.options.consumer} at ${message.seq}: ${errorText(thrown)}`);
      message.nak(natsLimits.recreateWaitMsMax);
    } finally {
      ping.cancel();
    }
  }

  async #settle(message: JsMsg): Promise<void> {
    const { seq, subject, headers, data, info } = message;
    const commit = storedCommit({ seq, subject, headers, data, storedAtMs: Math.floor(info.timestampNanos / 1e6) });
    const outcome =
      info.deliveryCount > natsLimits.crashedDeliveriesMax
        ? this.#crashed(commit, info.deliveryCount)
        : await this.#reaction.deliver(commit, info.deliveryCount);
    if (outcome.action === 'again') {
      this.counts.again++;
      message.nak(outcome.delayMs);
      return;
    }
    if (outcome.action === 'park') {
      await this.#deadLetters.park(outcome.letter);
      this.counts.parked++;
    } else if (outcome.skipped) this.counts.skipped++;
    else this.counts.done++;
    message.ack();
  }

  #crashed(commit: StoredCommit, deliveries: number): ReactorOutcome {
    const letter = create(log.DeadLetterSchema, {
      consumer: this.options.consumer,
      stream: streams.events,
      subject: commit.subject,
      seq: commit.seq,
      errorCode: 'REACTION_UNFINISHED',
      errorMessage:
        'delivered again and again without an end: the handler takes its process with it, or the log is away',
      deliveries,
      atMs: this.options.link.environment.clock.nowMs(),
    });
    return { action: 'park', letter };
  }

  async #redrive(bytes: Uint8Array): Promise<void> {
    const { seq } = JSON.parse(Buffer.from(bytes).toString()) as { seq: number };
    for await (const commit of this.options.log.read({ fromSeq: seq, toSeq: seq })) {
      const outcome = await this.#reaction.deliver(commit, 1);
      if (outcome.action === 'again') throw outcome.error;
      if (outcome.action === 'park') throw new CodedError(outcome.letter.errorCode, outcome.letter.errorMessage);
      return;
    }
    throw new CodedError('DEAD_LETTER_COMMIT_MISSING', `the log has no commit ${seq}`);
  }
}
