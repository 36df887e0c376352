/** "degraded" serves with less than everything: the bus is away and records spool, for one. */
export type HealthState = 'up' | 'degraded' | 'down' | 'unknown';

export interface HealthReport {
  readonly state: HealthState;
  readonly detail?: string;
}

export interface HealthCheck {
  readonly name: string;
  /** A dependency that is not required can at most degrade the whole. */
  readonly required: boolean;
  check(): HealthReport;
}

/** What each dependency says of itself at this moment; nothing is cached and nothing is assumed. */
export class HealthBoard {
  readonly #checks: HealthCheck[] = [];

  add(check: HealthCheck): this {
    this.#checks.push(check);
    return this;
  }

  report(): { ready: boolean; state: HealthState; dependencies: Record<string, HealthReport & { required: boolean }> } {
    let state: HealthState = 'up';
    const dependencies: Record<string, HealthReport & { required: boolean }> = {};
    for (const dependency of this.#checks) {
      const { name, required } = dependency;
      const report = dependency.check();
      dependencies[name] = { ...report, required };
      if (report.state === 'up') continue;
      if (required && report.state !== 'degraded') state = 'down';
      else if (state === 'up') state = 'degraded';
    }
    return { ready: state !== 'down', state, dependencies };
  }
}
