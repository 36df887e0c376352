import type { EventRegistry } from '#libs/contracts';
import type { Broker } from '#libs/event-log';
import type { Environment } from '#libs/kernel';
import type { TypedClient } from '#libs/nest-kit';
import type { Logger, Registry } from '#libs/observability';
import type { FleetFold } from './loops/fleet-fold.ts';
import type { Notary } from './loops/notary.ts';
import type { Projector } from './loops/projector.ts';
import type { Guesses } from './http/guesses.ts';
import type { Gate } from './gate.ts';

/** What every answer rests on. One object for the app. */
export interface Core {
  readonly broker: Broker;
  readonly registry: EventRegistry;
  readonly environment: Environment;
  readonly logger: Logger;
  readonly metrics: Registry;
  readonly instance: string;
  readonly client: TypedClient;
  readonly fold: FleetFold;
  readonly projector: Projector;
  readonly notary: Notary;
  /** Keys whose seals count. */
  readonly trustedKeys: ReadonlySet<string>;
  /** Wrong admin keys. */
  readonly guesses: Guesses;
  readonly longAnswers: Gate;
  readonly followers: Gate;
  /** Aborted when the app stops: streams end then. */
  readonly stopping: AbortSignal;
}
