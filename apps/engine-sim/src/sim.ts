import type { Rng } from '#libs/kernel';
import type { Adapter, Adapters } from './adapters.ts';
import { unknownModel } from './errors.ts';
import type { HttpMetrics } from './http-metrics.ts';
import type { Exchange } from './http.ts';
import type { KvPublisher } from './kv-publisher.ts';
import type { LiveEngine } from './live-engine.ts';
import type { EngineSimSettings } from './options.ts';
import { type Body, parseBody } from './validate.ts';

export const fingerprint = 'vllm-0.32.0-00000513';

/** What the handlers share. */
export interface Sim {
  readonly settings: EngineSimSettings;
  /** Data-parallel engines; most servers have one. */
  readonly ranks: readonly LiveEngine[];
  /** The first of them: what all share, and the only one where there is one. */
  readonly engine: LiveEngine;
  readonly adapters: Adapters;
  readonly kv: KvPublisher | undefined;
  readonly http: HttpMetrics;
  /** For what is sampled without a seed of its own. */
  readonly rng: Rng;
  /** Its port, filled in when it listens. */
  readonly address: { port: number };
}

export async function bodyOf(exchange: Exchange): Promise<Body> {
  return parseBody(exchange.header('content-type'), await exchange.text());
}

const idLength = 16;

export function newId(sim: Sim): string {
  return sim.settings.environment.ids.uuid().replaceAll('-', '').slice(0, idLength);
}

export const createdS = (sim: Sim): number => Math.floor(sim.settings.environment.clock.nowMs() / 1000);

/** The id that a client gave by body or header, or a new one. */
export function requestId(sim: Sim, exchange: Exchange, body: Body): string {
  const given = body['request_id'];
  return typeof given === 'string' ? given : (exchange.header('x-request-id') ?? newId(sim));
}

export interface Chosen {
  readonly name: string;
  readonly adapter: Adapter | undefined;
}

export function chooseModel(sim: Sim, asked: unknown): Chosen {
  const { models } = sim.settings;
  if (asked === undefined || asked === null || asked === '') return { name: models[0]!, adapter: undefined };
  const name = String(asked);
  if (models.includes(name)) return { name, adapter: undefined };
  const adapter = sim.adapters.get(name);
  if (adapter === undefined) throw unknownModel(name, models);
  return { name, adapter };
}
