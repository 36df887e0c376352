import type { Environment } from '#libs/kernel';
import type { Logger } from '#libs/observability';
import type { RecordInput } from '#libs/recording';
import type { GatewayState } from '../control/state.ts';
import type { Edge } from '../edge/index.ts';
import type { CacheSalts } from '../edge/cache-salt.ts';
import type { KeyGuard } from '../edge/key-guard.ts';
import type { Fleet, FleetReplica } from '../fleet/fleet.ts';
import type { PreciseIndex } from '../kv/precise-index.ts';
import type { ActiveList, Served } from './active-list.ts';
import type { BodyScanner } from './body/body-scanner.ts';
import type { Hedging } from './hedging/hedging.ts';
import type { MessagesOffers } from '../messages/index.ts';
import type { Idempotency } from './idempotency.ts';
import type { ServeLimits } from './limits.ts';
import type { ServeMetrics } from './metrics.ts';
import type { PdMetrics } from './pd/pd-metrics.ts';
import type { Picks } from './picks.ts';
import type { TokensOf } from '../tokens/index.ts';
import type { RateLimit } from './rate-limit.ts';
import type { Selectors } from './selector.ts';
import type { ResponseHolders } from './response-holders.ts';
import type { ServeTracing } from './tracing.ts';
import type { FlowGate } from '../flow/index.ts';
import type { QuotaGate } from '../quota/index.ts';
import type { ReplicaPool } from './upstream/pool.ts';

/** What all requests of one data plane share. */
export interface Plane {
  readonly fleet: Fleet;
  readonly state: () => GatewayState;
  readonly record: ((record: RecordInput) => void) | undefined;
  readonly environment: Environment;
  readonly logger: Logger;
  readonly open: boolean;
  readonly compat: boolean;
  /** Streams are asked for their usage where the client does not ask. */
  readonly streamUsage: boolean;
  readonly limits: ServeLimits;
  readonly scanner: BodyScanner;
  readonly picks: Picks;
  /** Token ids of prompts, where a model's tokenizer is known. */
  readonly tokens: TokensOf;
  /** What the engines themselves say that they hold; undefined where nobody listens. */
  readonly kv: PreciseIndex | undefined;
  readonly selectors: Selectors;
  readonly rates: RateLimit;
  readonly edge: Edge;
  readonly keyGuard: KeyGuard;
  /** Undefined: no tenant's prompts are kept apart. */
  readonly salts: CacheSalts | undefined;
  /** Undefined: limits are not held. */
  readonly quotas: QuotaGate | undefined;
  /** Where requests wait whose profile says so. */
  readonly flow: FlowGate;
  /** Second requests for late first bytes. */
  readonly hedging: Hedging;
  readonly holders: ResponseHolders;
  /** Who speaks Anthropic's protocol. */
  readonly messages: MessagesOffers;
  readonly idempotency: Idempotency;
  readonly metrics: ServeMetrics;
  readonly pd: PdMetrics;
  /** No replica of a model takes requests, and one is wanted. Undefined where nobody is told. */
  readonly wanted: ((model: string, replicas: readonly FleetReplica[], waiting: number) => void) | undefined;
  readonly tracing: ServeTracing;
  readonly active: ActiveList<Served>;
  /** Bytes of bodies held now. */
  heldBytes: number;
  draining: boolean;
  pool(replica: FleetReplica): ReplicaPool;
}
