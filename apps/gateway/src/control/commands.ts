import type { MessageInitShape } from '@bufbuild/protobuf';
import type { EventRegistry, route } from '#libs/contracts';
import { isSubjectId } from '#libs/contracts';
import type { Broker, Decider, DomainEvent, Handled, HandleOptions } from '#libs/event-log';
import { CommandHandler } from '#libs/event-log';
import type { Environment } from '#libs/kernel';
import { CodedError } from '#libs/kernel';
import type { CommandOrigin } from '#libs/nest-kit';
import type { GatewayFolds } from './folds.ts';

export type Receipt = MessageInitShape<typeof route.CommandReceiptSchema>;

/** Gives commands to the deciders of routing and tenancy, with who and why. */
export class Commands {
  readonly #handler: CommandHandler;

  constructor(
    broker: Broker,
    registry: EventRegistry,
    private readonly environment: Environment,
    folds: GatewayFolds,
    /** "gateway:<instance>" */
    readonly actor: string,
  ) {
    this.#handler = new CommandHandler({
      log: broker.log,
      registry,
      environment,
      actor,
      readers: broker.readers,
      heads: folds,
    });
  }

  async handle<State, Command, Event extends DomainEvent>(
    decider: Decider<State, Command, Event>,
    id: string,
    command: Command,
    options: HandleOptions<Event>,
  ): Promise<Handled> {
    return await this.#handler.handle(decider, id, command, options);
  }

  /** A command that came over the bus. `said` is the reason that the command itself carries. */
  async answer<State, Command, Event extends DomainEvent>(
    decider: Decider<State, Command, Event>,
    id: string,
    command: Command,
    origin: CommandOrigin,
    said = '',
  ): Promise<Receipt> {
    if (!isSubjectId(id)) {
      throw new CodedError('COMMAND_ID_INVALID', `"${id.slice(0, 80)}" cannot name a ${decider.aggregate}`, {
        advice: 'Use 1 to 64 letters, digits, "_" or "-".',
      });
    }
    const text = origin.reason ?? said;
    const { seq, version, commitId, changed } = await this.#handler.handle(decider, id, command, {
      commandId: origin.commandId ?? this.environment.ids.uuid(),
      actor: actorOf(origin.actor),
      causeId: origin.causeId,
      correlationId: origin.correlationId,
      traceparent: origin.traceparent,
      reason: text === '' ? undefined : { text },
    });
    return { seq, version, commitId, changed };
  }
}

/** Names of services and users; anything else is not believed and the gateway's own name stands in its place. */
const actorOf = (given: string | undefined): string | undefined =>
  given !== undefined && /^[a-z][a-z0-9-]{0,31}:[\w.@-]{1,64}$/.test(given) ? given : undefined;
