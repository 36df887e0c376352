import type { Handled, HandleOptions } from '#libs/event-log';
import type { WakeCommand, WakeEvent } from '#libs/domain/route';
import { wakeIdOf } from '#libs/domain/route';
import type { Environment } from '#libs/kernel';
import { errorText } from '#libs/kernel';
import type { FleetReplica } from './fleet.ts';
import { wakeLimits } from './limits.ts';

export interface WakerOptions {
  readonly gatewayId: string;
  readonly environment: Environment;
  readonly issue: (id: string, command: WakeCommand, options: HandleOptions<WakeEvent>) => Promise<Handled>;
  readonly log: (line: string) => void;
}

/** Says on the log that a model is wanted of which no replica takes requests. Off the request path; at most once in `holdMs` a model. */
export class Waker {
  /** Commits that said it. */
  requested = 0;
  lastError = '';
  readonly #options: WakerOptions;
  /** By model, when it may be said again. */
  readonly #heldUntilMs = new Map<string, number>();

  constructor(options: WakerOptions) {
    this.#options = options;
  }

  /** A request for the model found none of these ready. */
  want(model: string, replicas: readonly FleetReplica[], waiting: number): void {
    const { environment, gatewayId, issue, log } = this.#options;
    const nowMs = environment.clock.monotonicMs();
    if (nowMs < (this.#heldUntilMs.get(model) ?? 0)) return;
    if (this.#heldUntilMs.size >= wakeLimits.modelsMax) {
      this.#heldUntilMs.delete(this.#heldUntilMs.keys().next().value as string);
    }
    this.#heldUntilMs.delete(model);
    this.#heldUntilMs.set(model, nowMs + wakeLimits.holdMs);
    const states: Record<string, number> = {};
    const asleep: string[] = [];
    for (const replica of replicas) {
      const state = replica.routability();
      states[state] = (states[state] ?? 0) + 1;
      if (state === 'asleep' && asleep.length < wakeLimits.asleepNamedMax) asleep.push(replica.id);
    }
    const wake = { model, gatewayId, replicas: states, asleep, waiting, atMs: environment.clock.nowMs() };
    issue(
      wakeIdOf(model),
      { type: 'RequestWake', wake, holdMs: wakeLimits.holdMs },
      {
        commandId: environment.ids.uuid(),
        reason: { text: 'no replica takes requests', policyName: 'wake', policyVersion: 1 },
      },
    ).then(
      ({ changed }) => {
        this.lastError = '';
        if (!changed) return;
        this.requested++;
        log(`model ${model} is wanted and none of its ${replicas.length} replicas takes requests`);
      },
      (thrown: unknown) => {
        this.lastError = `wake of ${model}: ${errorText(thrown)}`;
        // The next request says it again.
        this.#heldUntilMs.set(model, environment.clock.monotonicMs() + wakeLimits.retryMs);
      },
    );
  }
}
