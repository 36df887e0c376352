import { subjects } from '#libs/contracts';
import type { Stop, Telemetry } from '#libs/event-log';
import type { Environment } from '#libs/kernel';
import type { WarmingLimits } from './limits.ts';

const kind = 'warming';

interface Heard {
  readonly gatewayId: string;
  readonly models: ReadonlySet<string>;
  readonly atMs: number;
}

export interface WarmingExchangeOptions {
  readonly gatewayId: string;
  readonly bootId: string;
  readonly telemetry: Telemetry;
  readonly environment: Environment;
  readonly limits: WarmingLimits;
}

/** Gateways tell each other of which models they have hot prefixes, so that one of them warms a replica. Silence is none. */
export class WarmingExchange {
  /** Messages that were none, or came past a bound. */
  unreadable = 0;
  readonly #options: WarmingExchangeOptions;
  readonly #heard = new Map<string, Heard>();
  #stop: Stop | undefined;
  #toldAtMs = -Infinity;

  constructor(options: WarmingExchangeOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    this.#stop = await this.#options.telemetry.subscribe(`lintel.tm.*.${kind}`, (_subject, bytes) => this.#hear(bytes));
  }

  async stop(): Promise<void> {
    await this.#stop?.();
  }

  /** Of which base models this gateway has hot prefixes now. Nothing is said where there are none. */
  tell(models: readonly string[]): void {
    const { gatewayId, bootId, telemetry, environment, limits } = this.#options;
    const nowMs = environment.clock.monotonicMs();
    if (models.length === 0 || nowMs - this.#toldAtMs < limits.tellMs) return;
    this.#toldAtMs = nowMs;
    const message = { gatewayId, bootId, models: models.slice(0, limits.modelsPerMessageMax) };
    telemetry.publish(subjects.telemetry(gatewayId, kind), Buffer.from(JSON.stringify(message)));
  }

  /** This gateway and others that have hot prefixes of the model. */
  gatewaysWith(model: string): string[] {
    const { gatewayId, environment, limits } = this.#options;
    const nowMs = environment.clock.monotonicMs();
    const ids = [gatewayId];
    for (const [bootId, heard] of this.#heard) {
      if (nowMs - heard.atMs > limits.heardMs) this.#heard.delete(bootId);
      else if (heard.models.has(model)) ids.push(heard.gatewayId);
    }
    return ids;
  }

  #hear(bytes: Uint8Array): void {
    const { bootId: own, environment, limits } = this.#options;
    const message = decoded(bytes, limits);
    if (message === undefined || (!this.#heard.has(message.bootId) && this.#heard.size >= limits.gatewaysMax)) {
      this.unreadable++;
      return;
    }
    const { bootId, gatewayId, models } = message;
    if (bootId === own) return;
    this.#heard.set(bootId, { gatewayId, models: new Set(models), atMs: environment.clock.monotonicMs() });
  }
}

/** On core subjects anybody may speak: what is no such word is not believed. */
function decoded(
  bytes: Uint8Array,
  limits: WarmingLimits,
): { bootId: string; gatewayId: string; models: readonly string[] } | undefined {
  if (bytes.byteLength > limits.messageBytesMax) return undefined;
  try {
    const { bootId, gatewayId, models } = JSON.parse(Buffer.from(bytes).toString()) as Record<string, unknown>;
    if (typeof bootId !== 'string' || typeof gatewayId !== 'string' || !Array.isArray(models)) return undefined;
    if (models.length > limits.modelsPerMessageMax || !models.every((model) => typeof model === 'string')) {
      return undefined;
    }
    return { bootId, gatewayId, models: models as string[] };
  } catch {
    return undefined;
  }
}
