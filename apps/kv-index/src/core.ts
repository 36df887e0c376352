import type { Broker } from '#libs/event-log';
import type { Environment } from '#libs/kernel';
import type { Registry } from '#libs/observability';
import type { Engines } from './follow/engines.ts';

/** What every answer rests on. */
export interface Core {
  readonly broker: Broker;
  readonly environment: Environment;
  readonly metrics: Registry;
  readonly engines: Engines;
}
