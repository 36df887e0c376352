import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { route, subjects } from '#libs/contracts';
import type { Stop, Telemetry } from '#libs/event-log';
import type { Environment, Timer } from '#libs/kernel';
import type { Holder, ResponseHolders } from './response-holders.ts';

export const holderExchangeLimits = {
  /** What answers said is told to other gateways within this time. */
  tellPeriodMs: 50,
  /** Told in one message; more go in several. */
  perMessageMax: 1_000,
  /** Waiting to be told; past it they are dropped and counted: other gateways then ask any replica. */
  queueMax: 10_000,
  /** Told to a gateway that has just started, those used last. */
  toldToNewMax: 16_384,
  messageBytesMax: 1024 * 1024,
} as const;

export interface HolderExchangeOptions {
  readonly gatewayId: string;
  readonly bootId: string;
  readonly telemetry: Telemetry;
  readonly environment: Environment;
  readonly holders: ResponseHolders;
}

/** Gateways tell each other who holds which response, so that any of them can go on from it. Best effort: a word may be lost. */
export class HolderExchange {
  dropped = 0;
  unreadable = 0;
  readonly #options: HolderExchangeOptions;
  readonly #subject: string;
  #queue: (readonly [string, Holder])[] = [];
  #stop: Stop | undefined;
  #timer: Timer | undefined;

  constructor(options: HolderExchangeOptions) {
    this.#options = options;
    this.#subject = subjects.telemetry(options.gatewayId, 'responses');
    options.holders.told = (id, holder) => this.#add(id, holder);
  }

  async start(): Promise<void> {
    const { telemetry, environment } = this.#options;
    this.#stop = await telemetry.subscribe('lintel.tm.*.responses', (_subject, bytes) => this.#hear(bytes));
    this.#timer = environment.timers.every(holderExchangeLimits.tellPeriodMs, () => this.#tell());
    this.#publish([], true);
  }

  async stop(): Promise<void> {
    this.#timer?.cancel();
    this.#tell();
    await this.#stop?.();
  }

  #add(id: string, holder: Holder): void {
    if (this.#queue.length < holderExchangeLimits.queueMax) this.#queue.push([id, holder]);
    else this.dropped++;
  }

  #tell(): void {
    if (this.#queue.length === 0) return;
    const queue = this.#queue;
    this.#queue = [];
    this.#pages(queue.toReversed());
  }

  #pages(all: readonly (readonly [string, Holder])[]): void {
    const { perMessageMax } = holderExchangeLimits;
    for (let from = 0; from < all.length; from += perMessageMax) {
      this.#publish(all.slice(from, from + perMessageMax), false);
    }
  }

  #publish(held: readonly (readonly [string, Holder])[], asks: boolean): void {
    const { gatewayId, bootId, telemetry } = this.#options;
    const message = create(route.GatewayResponsesSchema, {
      gatewayId,
      bootId,
      asks,
      held: held.map(([responseId, { replicaId, model, asked = '', tenantId }]) => ({
        responseId,
        replicaId,
        model,
        asked,
        tenantId,
      })),
    });
    telemetry.publish(this.#subject, toBinary(route.GatewayResponsesSchema, message));
  }

  #hear(bytes: Uint8Array): void {
    const message = this.#decode(bytes);
    if (message === undefined || message.bootId === this.#options.bootId) return;
    const { holders } = this.#options;
    // Those used last stand first: taken over from the end, so that the order of use is kept.
    for (const { responseId, replicaId, model, asked, tenantId } of message.held.toReversed()) {
      holders.learn(responseId, { replicaId, model, asked: asked === '' ? undefined : asked, tenantId });
    }
    if (message.asks) this.#pages([...holders.latest(holderExchangeLimits.toldToNewMax)]);
  }

  #decode(bytes: Uint8Array): route.GatewayResponses | undefined {
    try {
      if (bytes.byteLength <= holderExchangeLimits.messageBytesMax) {
        const message = fromBinary(route.GatewayResponsesSchema, bytes);
        if (message.bootId !== '' && message.held.length <= holderExchangeLimits.perMessageMax) return message;
      }
    } catch {
      // Counted below: on core subjects anybody may speak.
    }
    this.unreadable++;
    return undefined;
  }
}
