import type { route } from '#libs/contracts';
import type { AdapterUse, EngineLoad, EngineModel } from '#libs/engines';

/** What a replica's poller knows. Times are monotonic milliseconds; undefined is not known. */
export interface Observation {
  /** Detected or registered. */
  readonly engine: route.EngineKind;
  readonly healthy: boolean | undefined;
  /** Of the last health answer, good or bad. */
  readonly healthAtMs: number | undefined;
  readonly asleep: boolean;
  readonly load: EngineLoad | undefined;
  readonly loadAtMs: number | undefined;
  readonly adapters: AdapterUse | undefined;
  readonly models: readonly EngineModel[] | undefined;
  readonly lastError: string;
  /** Since the start. */
  readonly polls: number;
  readonly failedPolls: number;
}

export const nothingObserved = (engine: route.EngineKind): Observation => ({
  engine,
  healthy: undefined,
  healthAtMs: undefined,
  asleep: false,
  load: undefined,
  loadAtMs: undefined,
  adapters: undefined,
  models: undefined,
  lastError: '',
  polls: 0,
  failedPolls: 0,
});
