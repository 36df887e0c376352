import type { EventRegistry } from '#libs/contracts';
import { subjects } from '#libs/contracts';
import type { RouteState } from '#libs/domain/route';
import { emptyRouteState, evolveRoute } from '#libs/domain/route';
import type { Broker } from '#libs/event-log';
import { LogFold } from '#libs/event-log';
import type { Environment } from '#libs/kernel';
import { errorText } from '#libs/kernel';
import { limits } from '../limits.ts';

/** The replicas as the log names them, told once the log was read and after each change. */
export class RouteFold {
  #fold: LogFold<RouteState> | undefined;
  #stopped = false;
  failure = 'starting';

  constructor(
    private readonly broker: Broker,
    private readonly registry: EventRegistry,
    private readonly environment: Environment,
    private readonly changed: (state: RouteState) => void,
  ) {}

  get state(): RouteState | undefined {
    return this.#fold?.status === 'following' ? this.#fold.state : undefined;
  }

  async start(): Promise<void> {
    while (!this.#stopped) {
      const fold = new LogFold<RouteState>({
        log: this.broker.log,
        registry: this.registry,
        environment: this.environment,
        subjects: [subjects.events('route', 'replica')],
        initial: emptyRouteState(),
        evolve: evolveRoute,
        onAccepted: (_commit, state) => void (this.#fold === fold && this.changed(state)),
      });
      try {
        await fold.start();
        this.#fold = fold;
        this.changed(fold.state);
        return;
      } catch (thrown) {
        this.failure = errorText(thrown);
        await fold.stop();
        await this.environment.timers.sleep(limits.retryMs);
      }
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#fold?.stop();
  }
}
