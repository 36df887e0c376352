import type { Broker } from '#libs/event-log';
import type { Environment } from '#libs/kernel';
import type { Logger } from '#libs/observability';
import type { FollowerParts } from './follow/replica-follower.ts';

export interface KvIndexOptions {
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  readonly instance: string;
  /** Stays its owner's: `stop` leaves it open. */
  readonly broker: Broker;
  readonly adminKey: string;
  readonly logger: Logger;
  readonly environment?: Environment;
  readonly tuning?: FollowerParts['tuning'];
}

export interface RunningKvIndex {
  readonly url: string;
  readonly port: number;
  stop(): Promise<void>;
}
