import type { MessageInitShape } from '@bufbuild/protobuf';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { route, subjects } from '#libs/contracts';
import type { Stop, Telemetry } from '#libs/event-log';
import type { Environment, Timer } from '#libs/kernel';
import { inflightLimits } from './limits.ts';
import type { Work } from '#libs/latency-model';
import type { ElsewhereInflight } from './replica.ts';

export interface OwnInflight {
  readonly requests: number;
  /** Undefined where nothing is known of it yet. */
  readonly work: Work | undefined;
}

export interface InflightExchangeOptions {
  readonly gatewayId: string;
  readonly bootId: string;
  readonly telemetry: Telemetry;
  readonly environment: Environment;
  /** What this gateway has on each replica now; zeros may be left out. */
  readonly own: () => ReadonlyMap<string, OwnInflight>;
  /** The sum over all other gateways changed for these replicas. */
  readonly elsewhere: (replicaIds: Iterable<string>) => void;
  readonly warn: (line: string) => void;
}

interface Heard {
  readonly gatewayId: string;
  readonly atMs: number;
  readonly requests: ReadonlyMap<string, number>;
  readonly work: ReadonlyMap<string, Work>;
}

/** Tells other gateways what this one has in flight, and sums what they tell. Last value wins; silence is nothing in flight. */
export class InflightExchange {
  /** Messages that were no counts, or came past a bound. */
  unreadable = 0;
  readonly #options: InflightExchangeOptions;
  readonly #heard = new Map<string, Heard>();
  readonly #subject: string;
  #stop: Stop | undefined;
  #timer: Timer | undefined;
  #changed = false;
  #toldAtMs = -Infinity;
  #toldSome = false;
  #namesakeTold = false;

  constructor(options: InflightExchangeOptions) {
    this.#options = options;
    this.#subject = subjects.telemetry(options.gatewayId, 'inflight');
  }

  async start(): Promise<void> {
    const { telemetry, environment } = this.#options;
    this.#stop = await telemetry.subscribe('lintel.tm.*.inflight', (_subject, bytes) => this.#hear(bytes));
    this.#timer = environment.timers.every(inflightLimits.publishPeriodMs, () => this.#tick());
  }

  async stop(): Promise<void> {
    this.#timer?.cancel();
    if (this.#toldSome) this.#tell(new Map());
    await this.#stop?.();
  }

  /** The own counts changed. */
  touch(): void {
    this.#changed = true;
  }

  /** Other gateways that are heard now. */
  get gateways(): number {
    return this.#heard.size;
  }

  sumFor(replicaId: string): ElsewhereInflight {
    let requests = 0;
    let atMs: number | undefined;
    let untold = false;
    const sum = { prefillTokens: 0, decoding: 0, outputTokens: 0 };
    for (const heard of this.#heard.values()) {
      const count = heard.requests.get(replicaId);
      if (count === undefined) continue;
      requests += count;
      atMs = Math.min(atMs ?? Infinity, heard.atMs);
      const work = heard.work.get(replicaId);
      if (work === undefined) {
        untold = true;
        continue;
      }
      sum.prefillTokens += work.prefillTokens;
      sum.decoding += work.decoding;
      sum.outputTokens += work.outputTokens;
    }
    return { requests, atMs, work: untold || atMs === undefined ? undefined : sum };
  }

  #tick(): void {
    const nowMs = this.#options.environment.clock.monotonicMs();
    this.#forget(nowMs);
    const repeat = this.#toldSome && nowMs - this.#toldAtMs >= inflightLimits.repeatMs;
    if (this.#changed || repeat) this.#tell(this.#options.own());
  }

  #tell(own: ReadonlyMap<string, OwnInflight>): void {
    const { gatewayId, bootId, telemetry, environment } = this.#options;
    this.#changed = false;
    this.#toldAtMs = environment.clock.monotonicMs();
    const requests: Record<string, number> = {};
    const work: Record<string, MessageInitShape<typeof route.InflightWorkSchema>> = {};
    this.#toldSome = false;
    for (const [replicaId, { requests: count, work: needs }] of own) {
      if (count === 0) continue;
      requests[replicaId] = count;
      if (needs !== undefined) {
        const { prefillTokens, decoding, outputTokens } = needs;
        work[replicaId] = { prefillTokens, decoding, outputTokens };
      }
      this.#toldSome = true;
    }
    const message = create(route.GatewayInflightSchema, {
      gatewayId,
      bootId,
      atMs: environment.clock.nowMs(),
      requests,
      work,
    });
    telemetry.publish(this.#subject, toBinary(route.GatewayInflightSchema, message));
  }

  #hear(bytes: Uint8Array): void {
    const message = this.#decode(bytes);
    if (message === undefined) return;
    const { bootId, gatewayId, requests, work } = message;
    if (bootId === this.#options.bootId) return;
    if (gatewayId === this.#options.gatewayId && !this.#namesakeTold) {
      this.#namesakeTold = true;
      this.#options.warn(`another gateway calls itself ${gatewayId}: give each its own --instance`);
    }
    const before = this.#heard.get(bootId);
    if (before === undefined && this.#heard.size >= inflightLimits.gatewaysMax) {
      this.unreadable++;
      return;
    }
    const counts = new Map(Object.entries(requests));
    const told = new Map(Object.entries(work).filter(([, needs]) => isSound(needs)));
    const atMs = this.#options.environment.clock.monotonicMs();
    this.#heard.set(bootId, { gatewayId, atMs, requests: counts, work: told });
    this.#options.elsewhere(new Set([...counts.keys(), ...(before?.requests.keys() ?? [])]));
  }

  #decode(bytes: Uint8Array): route.GatewayInflight | undefined {
    if (bytes.byteLength <= inflightLimits.messageBytesMax) {
      try {
        const message = fromBinary(route.GatewayInflightSchema, bytes);
        const { requests, work, bootId } = message;
        const replicas = Math.max(Object.keys(requests).length, Object.keys(work).length);
        if (replicas <= inflightLimits.replicasPerMessageMax && bootId !== '') return message;
      } catch {
        // Counted below: on core subjects anybody may speak.
      }
    }
    this.unreadable++;
    return undefined;
  }

  #forget(nowMs: number): void {
    for (const [bootId, { atMs, requests }] of this.#heard) {
      if (nowMs - atMs < inflightLimits.forgetMs) continue;
      this.#heard.delete(bootId);
      this.#options.elsewhere(requests.keys());
    }
  }
}

/** On core subjects anybody may speak: what is no amount is not told. */
const isSound = ({ prefillTokens, outputTokens }: Work): boolean =>
  Number.isFinite(prefillTokens) && prefillTokens >= 0 && Number.isFinite(outputTokens) && outputTokens >= 0;
