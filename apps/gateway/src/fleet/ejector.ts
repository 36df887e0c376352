import type { Handled, HandleOptions } from '#libs/event-log';
import type { ReplicaCommand, ReplicaEvent } from '#libs/domain/route';
import type { Environment, Timer } from '#libs/kernel';
import { errorText } from '#libs/kernel';
import { outlierLimits } from './limits.ts';
import type { Ejection } from './outliers.ts';
import { ejectMs, findOutliers } from './outliers.ts';
import type { LiveReplica } from './replica.ts';

/** Gives a command to a replica's aggregate. */
export type IssueReplicaCommand = (
  replicaId: string,
  command: ReplicaCommand,
  options: HandleOptions<ReplicaEvent>,
) => Promise<Handled>;

export interface EjectorOptions {
  readonly gatewayId: string;
  readonly environment: Environment;
  readonly replicas: () => Iterable<LiveReplica>;
  readonly issue: IssueReplicaCommand;
  /** Sequence of the fold that the decision saw. */
  readonly seq: () => number;
  readonly log: (line: string) => void;
}

interface Held {
  untilMs: number;
  times: number;
  /** A command is on its way, or waits for its next try. */
  busyUntilMs: number;
}

/**
 * Takes replicas that stand out by failures out of this gateway's routing, and lets them back after a time, each by a commit with its
 * evidence. Off the request path: the routing changes when the fold says so.
 */
export class Ejector {
  ejections = 0;
  lastError = '';
  readonly #options: EjectorOptions;
  readonly #held = new Map<string, Held>();
  #timer: Timer | undefined;

  constructor(options: EjectorOptions) {
    this.#options = options;
  }

  start(): void {
    const { timers } = this.#options.environment;
    this.#timer = timers.every(outlierLimits.evaluatePeriodMs, () => this.evaluate());
  }

  stop(): void {
    this.#timer?.cancel();
  }

  /** One look at all replicas. */
  evaluate(): void {
    const nowMs = this.#options.environment.clock.monotonicMs();
    const replicas = [...this.#options.replicas()];
    const byId = new Map(replicas.map((replica) => [replica.id, replica]));
    for (const id of this.#held.keys()) if (!byId.has(id)) this.#held.delete(id);
    for (const replica of replicas) if (replica.ejected) this.#readmitWhenDue(replica, nowMs);
    const observed = replicas.map((replica) => ({
      id: replica.id,
      ...replica.window.totals(nowMs),
      ejected: replica.ejected || (this.#held.get(replica.id)?.busyUntilMs ?? 0) > nowMs,
      out: replica.draining || replica.observation.healthy === false,
      models: (replica.models() ?? []).map(({ id }) => id),
    }));
    for (const ejection of findOutliers(observed))
      this.#eject(byId.get(ejection.replicaId) as LiveReplica, ejection, nowMs);
  }

  #eject(replica: LiveReplica, ejection: Ejection, nowMs: number): void {
    const { gatewayId, seq, environment, log } = this.#options;
    const held = this.#held.get(replica.id) ?? { untilMs: 0, times: 0, busyUntilMs: 0 };
    this.#held.set(replica.id, held);
    const forMs = ejectMs(held.times);
    const { failures, requests, reason, othersFailures, othersRequests } = ejection;
    this.#issue(
      held,
      replica.id,
      {
        type: 'EjectReplica',
        ejection: { replicaId: replica.id, gatewayId, reason, failures, requests, ejectMs: forMs },
      },
      {
        commandId: environment.ids.uuid(),
        reason: {
          text: reason,
          policyName: 'outlier-ejection',
          policyVersion: 1,
          inputs: [
            { name: 'failures', value: failures },
            { name: 'requests', value: requests },
            { name: 'failuresElsewhere', value: othersFailures },
            { name: 'requestsElsewhere', value: othersRequests },
            { name: 'replicas', seq: seq() },
          ],
        },
      },
      () => {
        held.untilMs = nowMs + forMs;
        held.times++;
        this.ejections++;
        log(`replica ${replica.id} ejected for ${forMs / 1000} s: ${reason}`);
      },
    );
  }

  #readmitWhenDue(replica: LiveReplica, nowMs: number): void {
    const { gatewayId, environment, log } = this.#options;
    let held = this.#held.get(replica.id);
    if (held === undefined) {
      // Ejected by this gateway before it was started anew: the time begins again.
      held = { untilMs: nowMs + outlierLimits.ejectMsMin, times: 1, busyUntilMs: 0 };
      this.#held.set(replica.id, held);
    }
    if (nowMs < held.untilMs || nowMs < held.busyUntilMs) return;
    const reason = 'its time is over';
    this.#issue(
      held,
      replica.id,
      { type: 'ReadmitReplica', readmission: { replicaId: replica.id, gatewayId, reason } },
      { commandId: environment.ids.uuid(), reason: { text: reason, policyName: 'outlier-ejection', policyVersion: 1 } },
      () => {
        replica.window.clear();
        log(`replica ${replica.id} readmitted`);
      },
    );
  }

  #issue(
    held: Held,
    replicaId: string,
    command: ReplicaCommand,
    options: HandleOptions<ReplicaEvent>,
    done: () => void,
  ): void {
    const { clock } = this.#options.environment;
    held.busyUntilMs = Infinity;
    this.#options.issue(replicaId, command, options).then(
      () => {
        // The fold follows within this time; until then the same thing is not decided again.
        held.busyUntilMs = clock.monotonicMs() + outlierLimits.commandRetryMs;
        this.lastError = '';
        done();
      },
      (thrown: unknown) => {
        held.busyUntilMs = clock.monotonicMs() + outlierLimits.commandRetryMs;
        this.lastError = `${command.type} ${replicaId}: ${errorText(thrown)}`;
      },
    );
  }
}
