import type { Msg, Subscription } from '@nats-io/transport-node';
import { createInbox, nuid } from '@nats-io/transport-node';
import { AckPolicy, DeliverPolicy, ReplayPolicy } from '@nats-io/jetstream';
import type { NatsLink } from './connection.ts';
import { natsLimits } from './limits.ts';
import type { Delivered } from './message.ts';
import { delivered } from './message.ts';

export interface PullSource {
  readonly stream: string;
  readonly fromSeq: number;
  /** As the server knows them: several only from 2.10 on. */
  readonly filters: readonly string[];
}

/**
 * One ephemeral consumer that is read in order and without acknowledgements. Asks for more only when what came was
 * taken, so that a slow reader holds a bounded number of bytes. Any doubt (a gap, a lost consumer, silence) ends it with
 * `lost`; whoever reads makes the next one behind the last message.
 */
export class OrderedPull {
  #queue: Delivered[] = [];
  /** Messages asked for and not yet here. */
  #outstanding = 0;
  /** Of what is here and not yet taken. */
  #queuedBytes = 0;
  #nextDelivery = 1;
  #lost: string | undefined;
  #wake: (() => void) | undefined;
  #heardMs: number;
  readonly #subscription: Subscription;
  readonly #inbox: string;
  readonly #offChange: () => void;
  readonly #watchdog: { cancel(): void };

  private constructor(
    private readonly link: NatsLink,
    private readonly source: PullSource,
    private readonly consumer: string,
    /** Messages that waited for this consumer when it was made. */
    readonly pendingAtStart: number,
  ) {
    this.#inbox = createInbox(link.inboxPrefix);
    this.#subscription = link.nc.subscribe(this.#inbox, {
      callback: (error, msg) => (error === null ? this.#take(msg) : this.#lose(error.message)),
    });
    this.#offChange = link.onChange((connected) => void (connected || this.#lose('the server is away')));
    const { clock, timers } = link.environment;
    this.#heardMs = clock.monotonicMs();
    this.#watchdog = timers.every(natsLimits.heartbeatMs, () => {
      if (this.#outstanding > 0 && clock.monotonicMs() - this.#heardMs > 2 * natsLimits.heartbeatMs + 500) {
        this.#lose('no heartbeat');
      }
    });
  }

  static async open(link: NatsLink, source: PullSource): Promise<OrderedPull> {
    const name = `${link.name.replace(/[^A-Za-z0-9_-]/g, '_').slice(0, 40)}_${nuid.next()}`;
    const [only, ...more] = source.filters;
    const info = await link.jsm.consumers.add(source.stream, {
      name,
      ack_policy: AckPolicy.None,
      deliver_policy: DeliverPolicy.StartSequence,
      opt_start_seq: Math.max(1, source.fromSeq),
      replay_policy: ReplayPolicy.Instant,
      max_deliver: 1,
      mem_storage: true,
      num_replicas: 1,
      inactive_threshold: natsLimits.consumerInactiveMs * 1e6,
      ...(more.length > 0
        ? { filter_subjects: [...source.filters] }
        : only === undefined
          ? {}
          : { filter_subject: only }),
    });
    const pull = new OrderedPull(link, source, name, info.num_pending);
    pull.#more();
    return pull;
  }

  /** Why there is nothing more to come; undefined while there is. */
  get lost(): string | undefined {
    return this.#lost;
  }

  /** What is there, at least one message; empty when the consumer is lost or `release` was called. */
  async take(): Promise<readonly Delivered[]> {
    if (this.#queue.length === 0 && this.#lost === undefined) {
      const woken = Promise.withResolvers<void>();
      this.#wake = woken.resolve;
      await woken.promise;
      this.#wake = undefined;
    }
    const batch = this.#queue;
    this.#queue = [];
    this.#queuedBytes = 0;
    this.#more();
    return batch;
  }

  /** Ends a waiting `take`. */
  release(): void {
    this.#wake?.();
  }

  async close(): Promise<void> {
    this.#lost ??= 'closed';
    this.#watchdog.cancel();
    this.#offChange();
    this.#subscription.unsubscribe();
    this.release();
    if (!this.link.connected) return;
    // An ephemeral consumer that is not deleted leaves by itself after its inactive time.
    await this.link.jsm.consumers.delete(this.source.stream, this.consumer).catch(() => {});
  }

  #take(msg: Msg): void {
    this.#heardMs = this.link.environment.clock.monotonicMs();
    if (msg.subject === this.#inbox) return this.#status(msg);
    if (this.#lost !== undefined) return;
    const message = delivered(msg);
    if (message.deliverySeq !== this.#nextDelivery) {
      this.#lose(`delivery ${message.deliverySeq} came instead of ${this.#nextDelivery}`);
      return;
    }
    this.#nextDelivery++;
    this.#outstanding = Math.max(0, this.#outstanding - 1);
    this.#queue.push(message);
    this.#queuedBytes += message.data.byteLength;
    this.#wake?.();
    if (this.#outstanding === 0) this.#more();
  }

  /** What comes under the inbox itself is the server's; messages come under the subject of the stream. */
  #status(msg: Msg): void {
    const code = msg.headers?.code ?? 0;
    const description = msg.headers?.description ?? '';
    if (code === 100) return;
    if (code === 408 || code === 404 || (code === 409 && /message size exceeds|batch completed/i.test(description))) {
      // This request is over; a header tells what of it did not come.
      const rest = Number(msg.headers?.get('Nats-Pending-Messages') || this.#outstanding);
      this.#outstanding = Math.max(0, this.#outstanding - rest);
      this.#more();
      return;
    }
    this.#lose(`${code} ${description}`.trim());
  }

  #more(): void {
    if (this.#lost !== undefined || this.#outstanding > natsLimits.pullMessagesMax / 2) return;
    if (this.#queue.length > 0 && this.#queuedBytes > natsLimits.pullBytesMax / 2) return;
    if (this.#queue.length >= natsLimits.pullMessagesMax) return;
    const batch = natsLimits.pullMessagesMax - this.#outstanding;
    this.#outstanding += batch;
    this.link.nc.publish(
      `$JS.API.CONSUMER.MSG.NEXT.${this.source.stream}.${this.consumer}`,
      JSON.stringify({
        batch,
        max_bytes: natsLimits.pullBytesMax,
        expires: natsLimits.pullExpiresMs * 1e6,
        idle_heartbeat: natsLimits.heartbeatMs * 1e6,
      }),
      { reply: this.#inbox },
    );
  }

  #lose(why: string): void {
    this.#lost ??= why;
    this.release();
  }
}
