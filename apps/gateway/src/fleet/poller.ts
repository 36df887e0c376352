import { route } from '#libs/contracts';
import type { EngineProfile, ProbeAnswer, Unusable } from '#libs/engines';
import { detectEngine, engineLimits, engineProfile, parseModels, parseSleeping, readLoad } from '#libs/engines';
import type { Environment, Timer } from '#libs/kernel';
import { errorText } from '#libs/kernel';
import { readCredential } from './credentials.ts';
import { fleetLimits } from './limits.ts';
import type { Observation } from './observation.ts';
import { nothingObserved } from './observation.ts';
import type { Probe } from './probe.ts';
import { isRefused } from './probe.ts';

export interface PollerOptions {
  readonly registration: route.ReplicaRegistered;
  readonly environment: Environment;
  readonly probe: Probe;
  /** Between two polls, from the size of the fleet. */
  readonly periodMs: () => number;
  /** After each poll. `modelsChanged` where the index of models must be made anew. */
  readonly observed: (observation: Observation, modelsChanged: boolean) => void;
}

const smallBodyBytesMax = 64 * 1024;

/**
 * The one poller of one replica: detects the engine, then asks health, load, sleep and, slower, models. One question at a time, the
 * next poll only after this one; whatever comes back stays in its observation.
 */
export class Poller {
  credential: string | undefined;
  readonly #options: PollerOptions;
  #now: Observation;
  #timer: Timer | undefined;
  #running = false;
  #stopped = false;
  #polledAtMs = -Infinity;
  #failuresInRow = 0;
  #modelsAtMs = -Infinity;
  #sleepOffered = true;
  #adaptersSeen = '';
  #credentialProblem: string | undefined;

  constructor(options: PollerOptions) {
    this.#options = options;
    this.#now = nothingObserved(options.registration.engine);
  }

  /** The first poll comes within `spreadMs`, so that a whole fleet does not answer at once. */
  start(spreadMs: number): void {
    this.#arm(this.#options.environment.rng.next() * spreadMs);
  }

  /** Polls now instead of in its turn, since something happened to the replica; at most once in each `hurryGapMs`. */
  hurry(): void {
    const sinceMs = this.#options.environment.clock.monotonicMs() - this.#polledAtMs;
    if (!this.#running && sinceMs >= fleetLimits.hurryGapMs) this.#arm(0);
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  #arm(delayMs: number): void {
    this.#timer?.cancel();
    if (this.#stopped) return;
    this.#timer = this.#options.environment.timers.after(delayMs, () => void this.#poll());
  }

  async #poll(): Promise<void> {
    if (this.#running) return;
    this.#running = true;
    this.#polledAtMs = this.#options.environment.clock.monotonicMs();
    const { environment, periodMs, observed } = this.#options;
    const before = this.#now;
    const healthyBefore = before.healthy;
    const next = { ...before, polls: before.polls + 1, lastError: '' };
    try {
      await this.#ask(next);
    } catch (thrown) {
      // No answer that came back can end here; a mistake of ours must not end the polling.
      next.lastError = `poll: ${errorText(thrown)}`.slice(0, fleetLimits.errorLengthMax);
    }
    if (next.lastError !== '') next.failedPolls++;
    if (healthyBefore === false && next.healthy === true) this.#modelsAtMs = -Infinity;
    this.#now = next;
    this.#running = false;
    if (this.#stopped) return;
    const { pollJitterShare } = fleetLimits;
    this.#arm(periodMs() * (1 + pollJitterShare * (2 * environment.rng.next() - 1)));
    observed(next, next.models !== before.models);
  }

  async #ask(next: Writable<Observation>): Promise<void> {
    const { clock } = this.#options.environment;
    const slow = clock.monotonicMs() - this.#modelsAtMs >= fleetLimits.modelsPeriodMs;
    if (slow) await this.#readCredential();
    if (this.#credentialProblem !== undefined) this.#blame(next, this.#credentialProblem);
    if (this.#options.registration.provider !== undefined) {
      // Its key alone: what it lacks is unknown, and asking costs.
      if (slow) this.#modelsAtMs = clock.monotonicMs();
      return;
    }
    if (next.engine === route.EngineKind.UNSPECIFIED) await this.#detect(next);
    const profile = engineProfile(next.engine);
    if (profile === undefined) return;
    await this.#askHealth(next, profile);
    if (next.healthy === false) return;
    await this.#askLoad(next, profile);
    await this.#askSleeping(next, profile, slow);
    const adapters = JSON.stringify(next.adapters ?? null);
    if (slow || adapters !== this.#adaptersSeen || next.models === undefined) {
      this.#adaptersSeen = adapters;
      await this.#askModels(next);
    }
  }

  async #readCredential(): Promise<void> {
    const { value, problem } = await readCredential(this.#options.registration.credentialRef);
    this.credential = value;
    this.#credentialProblem = problem;
  }

  async #detect(next: Writable<Observation>): Promise<void> {
    const answers = new Map<string, ProbeAnswer>();
    for (;;) {
      const detection = detectEngine(answers);
      if ('kind' in detection) {
        next.engine = detection.kind;
        return;
      }
      if ('problem' in detection) {
        this.#blame(next, `cannot tell the engine: ${detection.problem}`);
        this.#failed(next, true);
        return;
      }
      try {
        const bytesMax = detection.ask.endsWith('metrics') ? engineLimits.metricsBytesMax : engineLimits.modelsBytesMax;
        answers.set(detection.ask, await this.#get(detection.ask, bytesMax));
      } catch (thrown) {
        this.#blame(next, errorText(thrown));
        this.#failed(next, isRefused(thrown));
        return;
      }
    }
  }

  async #askHealth(next: Writable<Observation>, profile: EngineProfile): Promise<void> {
    try {
      const { status } = await this.#get(profile.healthPath, engineLimits.modelsBytesMax);
      // A guarded health path says that somebody is there.
      const alive = (status >= 200 && status < 300) || status === 401 || status === 403;
      if (alive) {
        this.#failuresInRow = 0;
        next.healthy = true;
        next.healthAtMs = this.#options.environment.clock.monotonicMs();
        return;
      }
      this.#blame(next, `GET ${profile.healthPath} answered ${status}`);
      this.#failed(next, false);
    } catch (thrown) {
      this.#blame(next, errorText(thrown));
      this.#failed(next, isRefused(thrown));
    }
  }

  #failed(next: Writable<Observation>, certain: boolean): void {
    this.#failuresInRow++;
    next.healthAtMs = this.#options.environment.clock.monotonicMs();
    if (certain || this.#failuresInRow >= fleetLimits.unhealthyAfterPolls) next.healthy = false;
  }

  async #askLoad(next: Writable<Observation>, profile: EngineProfile): Promise<void> {
    if (profile.metricsPath === undefined) return;
    const { metricsUrl, url, dataParallelSize, dataParallelRank } = this.#options.registration;
    const rank = dataParallelSize > 0 ? dataParallelRank : undefined;
    const load = await this.#parsed(
      next,
      profile.metricsPath,
      engineLimits.metricsBytesMax,
      (text) => readLoad(profile, text, rank),
      {
        origin: metricsUrl === '' ? url : metricsUrl,
      },
    );
    // The last values stay, and grow old.
    if (load === undefined) return;
    next.load = load;
    next.loadAtMs = this.#options.environment.clock.monotonicMs();
    next.adapters = load.adapters;
  }

  async #askSleeping(next: Writable<Observation>, { sleepingPath }: EngineProfile, slow: boolean): Promise<void> {
    if (sleepingPath === undefined || (!this.#sleepOffered && !slow)) return;
    const answer = await this.#parsed(next, sleepingPath, smallBodyBytesMax, parseSleeping, { absent: [404, 405] });
    this.#sleepOffered = answer !== undefined;
    next.asleep = answer?.sleeping ?? false;
  }

  async #askModels(next: Writable<Observation>): Promise<void> {
    const list = await this.#parsed(next, '/v1/models', engineLimits.modelsBytesMax, parseModels, {});
    if (list === undefined) return;
    this.#modelsAtMs = this.#options.environment.clock.monotonicMs();
    const same = next.models !== undefined && JSON.stringify(next.models) === JSON.stringify(list.models);
    if (!same) next.models = list.models;
  }

  /** Undefined where there is nothing usable; the reason then stands in `lastError`, but for statuses that are an answer. */
  async #parsed<T extends object>(
    next: Writable<Observation>,
    path: string,
    bytesMax: number,
    parse: (text: string) => T | Unusable,
    { origin, absent = [] }: { origin?: string; absent?: readonly number[] },
  ): Promise<T | undefined> {
    try {
      const { status, text } = await this.#get(path, bytesMax, origin);
      if (status === 200) {
        const value = parse(text);
        if (!('problem' in value)) return value;
        this.#blame(next, `GET ${path}: ${value.problem}`);
      } else if (!absent.includes(status)) {
        const hint = status === 401 || status === 403 ? ': give the replica a credential' : '';
        this.#blame(next, `GET ${path} answered ${status}${hint}`);
      }
    } catch (thrown) {
      this.#blame(next, errorText(thrown));
    }
    return undefined;
  }

  async #get(path: string, bytesMax: number, origin = this.#options.registration.url): Promise<ProbeAnswer> {
    return await this.#options.probe(origin, path, this.credential, bytesMax);
  }

  /** The first problem of a poll is the one to tell. */
  #blame(next: Writable<Observation>, problem: string): void {
    if (next.lastError === '') next.lastError = problem.slice(0, fleetLimits.errorLengthMax);
  }
}

type Writable<T> = { -readonly [K in keyof T]: T[K] };
