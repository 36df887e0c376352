import { subjects } from '#libs/contracts';
import type { PlannedRouting } from '#libs/domain/route';
import { configuration, modelRoute, planConfiguration, policy, replica } from '#libs/domain/route';
import type { PlannedPrices, PlannedTenancy } from '#libs/domain/tenancy';
import { planPrices, planTenants, prices, tenant } from '#libs/domain/tenancy';
import type { EventLog, Handled, HandleOptions } from '#libs/event-log';
import type { Environment } from '#libs/kernel';
import { CodedError, errorCode, errorText } from '#libs/kernel';
import type { DesiredConfiguration } from '#libs/nest-kit';
import type { Commands } from './commands.ts';
import { configurationId } from './configuration-id.ts';
import type { GatewayFolds } from './folds.ts';
import { controlLimits } from './limits.ts';

export interface ConfigurationOrigin {
  /** "config:lintel.yaml", "flag" */
  readonly source: string;
  /** Hex sha256 of the document. */
  readonly contentHash: string;
}

type Planned = PlannedRouting | PlannedTenancy | PlannedPrices;

/**
 * Turns a whole document into commits: the difference to the fold is planned first and refused whole where any part is refused, then
 * given command by command. Two gateways with the same file make one effect. Applied twice it changes nothing.
 */
export class Reconciler {
  readonly #commands: Commands;
  #last: Promise<unknown> = Promise.resolve();

  constructor(
    commands: Commands,
    private readonly folds: GatewayFolds,
    private readonly log: EventLog,
    private readonly environment: Environment,
    private readonly actor: string,
    private readonly say: (line: string) => void,
  ) {
    this.#commands = commands;
  }

  /**
   * Answers the lines of what it changed, none where all is so already.
   * @throws the refusal of a decider, before anything was written · CONFIG_APPLY_UNAVAILABLE the log stayed away: what was done stands,
   *   applying again does the rest
   */
  async apply(desired: DesiredConfiguration, origin: ConfigurationOrigin): Promise<readonly string[]> {
    // One after the other: a plan must see what the one before it did.
    const mine = this.#last.then(() => this.#apply(desired, origin));
    this.#last = mine.catch(() => {});
    return await mine;
  }

  async #apply(desired: DesiredConfiguration, origin: ConfigurationOrigin): Promise<readonly string[]> {
    const done: string[] = [];
    try {
      await this.#patiently('read the log', () => this.#catchUp());
      const { route, tenancy } = this.folds.state();
      const { source } = origin;
      const plan: Planned[] = [
        ...planConfiguration(desired, route, { source }),
        ...planPrices(desired.prices, tenancy, { source }),
        ...planTenants(desired.tenants, tenancy, { source, nowMs: this.environment.clock.nowMs() }),
      ];
      const versions = new Map(
        plan.map((planned) => [subjectOf(planned), this.folds.headOf(subjectOf(planned)).version]),
      );
      let seq = 0;
      for (const [index, planned] of plan.entries()) {
        const commandId = `apply:${origin.contentHash.slice(0, 16)}:${versions.get(subjectOf(planned))}.${index}`;
        const handled = await this.#give(planned, this.#options(origin, commandId));
        seq = Math.max(seq, handled.seq);
        if (handled.changed) done.push(planned.change);
      }
      seq = Math.max(seq, await this.#record(origin, plan));
      await this.#patiently('follow the log', () => this.folds.waitFor(seq, controlLimits.applyFoldWaitMsMax));
      return done;
    } catch (thrown) {
      if (!isAway(thrown)) throw thrown;
      throw new CodedError('CONFIG_APPLY_UNAVAILABLE', `${origin.source} is not applied whole: ${errorText(thrown)}`, {
        advice: `Apply it again when the log is back; ${done.length} changes are done.`,
        cause: thrown,
      });
    }
  }

  async #catchUp(): Promise<void> {
    if (!this.folds.caughtUp) throw new CodedError('LOG_UNAVAILABLE', 'the folds have not caught up yet');
    await this.folds.waitFor(await this.log.lastSeq(), controlLimits.applyFoldWaitMsMax);
  }

  async #give(planned: Planned, options: HandleOptions): Promise<Handled> {
    return await this.#patiently(planned.change, async () => {
      switch (planned.aggregate) {
        case 'replica':
          return await this.#commands.handle(replica, planned.id, planned.command, options);
        case 'policy':
          return await this.#commands.handle(policy, planned.id, planned.command, options);
        case 'prices':
          return await this.#commands.handle(prices, planned.id, planned.command, options);
        case 'modelroute':
          return await this.#commands.handle(modelRoute, planned.id, planned.command, options);
        case 'tenant':
          return await this.#commands.handle(tenant, planned.id, planned.command, options);
      }
    });
  }

  async #record({ source, contentHash }: ConfigurationOrigin, plan: readonly Planned[]): Promise<number> {
    const id = configurationId(source);
    const subject = subjects.event('route', 'configuration', id);
    const { version } = this.folds.headOf(subject);
    const changes = plan.map(({ change }) => change).slice(0, recordedChangesMax);
    if (plan.length > changes.length) changes.push(`and ${plan.length - changes.length} more`);
    const command = { type: 'RecordConfiguration', configuration: { contentHash, source, changes } } as const;
    const options = this.#options({ source, contentHash }, `apply:${contentHash.slice(0, 16)}:${version}`);
    const { seq } = await this.#patiently('record the configuration', () =>
      this.#commands.handle(configuration, id, command, options),
    );
    return seq;
  }

  /**
   * The id names document, place in the plan and the version it was planned on: the same file on another gateway gives the same one, the
   * same file applied later, after something else, another.
   */
  #options({ source, contentHash }: ConfigurationOrigin, commandId: string): HandleOptions {
    return {
      commandId,
      actor: this.actor,
      correlationId: contentHash,
      reason: {
        text: `configuration ${source}`,
        inputs: [
          { name: 'routing', seq: this.folds.route.seq },
          { name: 'tenancy', seq: this.folds.tenancy.seq },
        ],
      },
    };
  }

  /** Tries again while the log is away, a bounded number of times. */
  async #patiently<T>(what: string, work: () => Promise<T>): Promise<T> {
    let delayMs: number = controlLimits.retryMsMin;
    for (let attempt = 1; ; attempt++) {
      try {
        return await work();
      } catch (thrown) {
        if (!isAway(thrown) || attempt >= controlLimits.applyTriesMax) throw thrown;
        if (attempt === 1) this.say(`${what}: ${errorText(thrown)}; trying again`);
      }
      await this.environment.timers.sleep(delayMs);
      delayMs = Math.min(delayMs * 2, controlLimits.retryMsMax);
    }
  }
}

const recordedChangesMax = 200;

const subjectOf = ({ aggregate, id }: Planned): string =>
  subjects.event(aggregate === 'tenant' || aggregate === 'prices' ? 'tenancy' : 'route', aggregate, id);

const isAway = (thrown: unknown): boolean =>
  ['LOG_UNAVAILABLE', 'READERS_UNAVAILABLE', 'FOLD_BEHIND', 'FOLD_STOPPED'].includes(errorCode(thrown));
