import type { EventRegistry } from '#libs/contracts';
import { subjects } from '#libs/contracts';
import type { RouteState } from '#libs/domain/route';
import {
  emptyRouteState,
  evolveRoute,
  routeFoldVersion,
  routeStateFromJson,
  routeStateToJson,
} from '#libs/domain/route';
import type { TenancyState } from '#libs/domain/tenancy';
import {
  emptyTenancyState,
  evolveTenancy,
  tenancyFoldVersion,
  tenancyStateFromJson,
  tenancyStateToJson,
} from '#libs/domain/tenancy';
import type { EventLog, Head, SnapshotStore } from '#libs/event-log';
import { CommitDecoder, LogFold } from '#libs/event-log';
import type { Environment } from '#libs/kernel';
import { KeptFold } from './kept-fold.ts';
import { controlLimits } from './limits.ts';
import type { GatewayState } from './state.ts';

export interface GatewayFoldsOptions {
  readonly log: EventLog;
  readonly registry: EventRegistry;
  readonly environment: Environment;
  readonly snapshots: SnapshotStore;
  /** The routing changed; called once after the catch-up and after each commit that follows. */
  readonly routeChanged: (state: RouteState) => void;
  readonly say: (line: string) => void;
}

/** What the gateway folds of the log: routing and tenancy, each a fold of its own context's subjects. */
export class GatewayFolds {
  readonly route: KeptFold<RouteState>;
  readonly tenancy: KeptFold<TenancyState>;
  readonly #options: GatewayFoldsOptions;

  constructor(options: GatewayFoldsOptions) {
    const { log, registry, environment, snapshots, routeChanged, say } = options;
    this.#options = options;
    const decoder = new CommitDecoder(registry);
    const shared = { log, registry, environment, decoder };
    const every = { store: snapshots, everyCommits: controlLimits.snapshotEveryCommits };
    this.route = new KeptFold(
      'routing',
      () =>
        new LogFold({
          ...shared,
          subjects: [subjects.events('route')],
          initial: emptyRouteState(),
          evolve: evolveRoute,
          snapshots: {
            ...every,
            name: 'gateway__route',
            foldVersion: String(routeFoldVersion),
            encode: routeStateToJson,
            decode: routeStateFromJson,
          },
          // A catch-up is told once, at its end.
          onAccepted: (_commit, state) => void (this.route.caughtUp && routeChanged(state)),
        }),
      environment,
      say,
    );
    this.tenancy = new KeptFold(
      'tenancy',
      () =>
        new LogFold({
          ...shared,
          // Leases of quotas are many, and nothing here rests on them.
          subjects: ['tenant', 'prices', 'admin'].map((aggregate) => subjects.events('tenancy', aggregate)),
          initial: emptyTenancyState(),
          evolve: evolveTenancy,
          snapshots: {
            ...every,
            name: 'gateway__tenancy',
            foldVersion: String(tenancyFoldVersion),
            encode: tenancyStateToJson,
            decode: tenancyStateFromJson,
          },
        }),
      environment,
      say,
    );
  }

  get caughtUp(): boolean {
    return this.route.caughtUp && this.tenancy.caughtUp;
  }

  /** One object for each call: the maps in it are the folds' own. */
  state(): GatewayState {
    const { route, tenancy } = this;
    return { route: route.state, routeSeq: route.seq, tenancy: tenancy.state, tenancySeq: tenancy.seq };
  }

  headOf(subject: string): Head {
    return (subject.startsWith('lintel.ev.tenancy.') ? this.tenancy : this.route).headOf(subject);
  }

  async start(): Promise<void> {
    await Promise.all([this.route.start(), this.tenancy.start()]);
    this.#options.routeChanged(this.route.state);
  }

  /** Both stand at `seq` at least. @throws FOLD_BEHIND */
  async waitFor(seq: number, timeoutMs: number): Promise<void> {
    await Promise.all([this.route.waitFor(seq, timeoutMs), this.tenancy.waitFor(seq, timeoutMs)]);
  }

  async stop(): Promise<void> {
    await Promise.all([this.route.stop(), this.tenancy.stop()]);
  }
}
