import type { Broker } from '#libs/event-log';
import type { Environment } from '#libs/kernel';
import type { Logger } from '#libs/observability';
import { limits } from './limits.ts';

export interface DiagnosticsOptions {
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  readonly instance: string;
  /** Folder of state: the notary's key lies in `<home>/keys`. */
  readonly home: string;
  /** Stays its owner's: `stop` leaves it open. */
  readonly broker: Broker;
  /** Undefined serves everything from the log and the frames. */
  readonly databaseUrl: string | undefined;
  readonly adminKey: string;
  readonly logger: Logger;
  readonly environment?: Environment;
  readonly notary?: Partial<NotaryTuning>;
}

export interface NotaryTuning {
  readonly commitsMax: number;
  readonly ageMsMax: number;
  readonly pollMs: number;
}

export const notaryTuning: NotaryTuning = {
  commitsMax: limits.notaryCommitsMax,
  ageMsMax: limits.notaryAgeMsMax,
  pollMs: limits.notaryPollMs,
};

export interface RunningDiagnostics {
  readonly url: string;
  readonly port: number;
  stop(): Promise<void>;
}
