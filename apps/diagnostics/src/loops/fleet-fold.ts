import type { EventRegistry } from '#libs/contracts';
import type { FleetState, StateJson } from '#libs/domain/diag';
import { emptyFleetState, evolveFleet, fleetFoldVersion, fleetStateFromJson, stateJson } from '#libs/domain/diag';
import type { RouteState } from '#libs/domain/route';
import {
  emptyRouteState,
  evolveRoute,
  routeFoldVersion,
  routeStateFromJson,
  routeStateToJson,
} from '#libs/domain/route';
import type { AdminKeyState, TenancyState } from '#libs/domain/tenancy';
import {
  emptyTenancyState,
  evolveTenancy,
  tenancyFoldVersion,
  tenancyStateFromJson,
  tenancyStateToJson,
} from '#libs/domain/tenancy';
import type { Broker, Head } from '#libs/event-log';
import { LogFold } from '#libs/event-log';
import type { Environment } from '#libs/kernel';
import { CodedError, errorText } from '#libs/kernel';
import type { HealthReport, Logger } from '#libs/observability';
import { limits } from '../limits.ts';

/** The fleet three times over: as people read it, and as the planners of routing and tenancy need it. */
export interface Folded {
  readonly fleet: FleetState;
  readonly route: RouteState;
  readonly tenancy: TenancyState;
}

interface FoldedJson {
  readonly fleet: StateJson;
  readonly route: unknown;
  readonly tenancy: unknown;
}

const noAdminKeys: AdminKeyState = new Map();

interface FleetFoldOptions {
  readonly broker: Broker;
  readonly registry: EventRegistry;
  readonly environment: Environment;
  readonly logger: Logger;
  readonly instance: string;
}

/** The log as it is now, folded in memory. Starts again by itself when the log was away. */
export class FleetFold {
  readonly #options: FleetFoldOptions;
  #fold: LogFold<Folded> | undefined;
  #failure: CodedError | undefined;
  #stopped = false;
  #running: Promise<void> | undefined;

  constructor(options: FleetFoldOptions) {
    this.#options = options;
  }

  /** Resolves when the log was folded once; goes on trying where it is away. */
  start(): Promise<void> {
    this.#running ??= this.#run();
    return this.#running;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    const fold = this.#fold;
    if (fold === undefined) return;
    await fold.stop();
    await fold.saveSnapshot().catch((thrown: unknown) => {
      this.#options.logger.debug(`no snapshot at the end: ${errorText(thrown)}`);
    });
  }

  /** As far as the log was read: until then there are none. */
  get adminKeys(): AdminKeyState {
    return this.#fold?.state.tenancy.admin ?? noAdminKeys;
  }

  get headSeq(): number {
    return this.#fold?.headSeq ?? 0;
  }

  get forked(): number {
    return this.#fold?.counts.forked ?? 0;
  }

  headOf(subject: string): Head | undefined {
    return this.#fold?.headOf(subject);
  }

  /**
   * The state, at least up to `minSeq`. Read it at once: it moves on.
   * @throws FOLD_UNAVAILABLE the log could not be read yet · FOLD_BEHIND
   */
  async at(
    minSeq = 0,
    waitMs: number = limits.minSeqWaitMsMax,
  ): Promise<{ readonly state: Folded; readonly seq: number }> {
    const fold = this.#fold;
    if (fold === undefined) {
      throw new CodedError('FOLD_UNAVAILABLE', `the log was not read yet: ${this.#failure?.message ?? 'starting'}`, {
        advice: 'Is the broker running? GET /ready tells.',
      });
    }
    if (fold.status === 'halted') {
      throw new CodedError('FOLD_UNAVAILABLE', `the fold halted at ${fold.headSeq}: ${fold.failure?.message ?? ''}`, {
        advice: 'Run lintel verify; an event of a newer version needs a newer diagnostics.',
      });
    }
    await fold.waitFor(minSeq, waitMs);
    return { state: fold.state, seq: fold.headSeq };
  }

  health(): HealthReport {
    const fold = this.#fold;
    if (fold === undefined) return { state: 'unknown', detail: this.#failure?.message ?? 'starting' };
    if (fold.status === 'following') return { state: 'up', detail: `at ${fold.headSeq}` };
    return { state: 'degraded', detail: `${fold.status}: ${fold.failure?.message ?? ''}` };
  }

  async #run(): Promise<void> {
    const { environment, logger } = this.#options;
    while (!this.#stopped) {
      const fold = this.#make();
      try {
        await fold.start();
        this.#fold = fold;
        return;
      } catch (thrown) {
        this.#failure = fold.failure;
        if (fold.failure?.code.endsWith('_UNAVAILABLE') !== true) {
          // What cannot be decoded does not get better; the state up to there is said to be halted.
          this.#fold = fold;
          logger.error(`the fold of the log halted: ${errorText(thrown)}`);
          return;
        }
        await environment.timers.sleep(limits.foldRetryMs);
      }
    }
  }

  #make(): LogFold<Folded> {
    const { broker, registry, environment, instance } = this.#options;
    return new LogFold<Folded>({
      log: broker.log,
      registry,
      environment,
      initial: { fleet: emptyFleetState(), route: emptyRouteState(), tenancy: emptyTenancyState() },
      evolve: (state, commit) => {
        evolveFleet(state.fleet, commit);
        evolveRoute(state.route, commit);
        evolveTenancy(state.tenancy, commit);
        return state;
      },
      snapshots: {
        store: broker.snapshots,
        name: `diagnostics-${instance}`,
        foldVersion: `${fleetFoldVersion}.${routeFoldVersion}.${tenancyFoldVersion}`,
        everyCommits: limits.snapshotEveryCommits,
        encode: ({ fleet, route, tenancy }): FoldedJson => ({
          fleet: stateJson(fleet),
          route: routeStateToJson(route),
          tenancy: tenancyStateToJson(tenancy),
        }),
        decode: (json) => {
          const { fleet, route, tenancy } = json as FoldedJson;
          return {
            fleet: fleetStateFromJson(fleet),
            route: routeStateFromJson(route),
            tenancy: tenancyStateFromJson(tenancy),
          };
        },
      },
    });
  }
}
