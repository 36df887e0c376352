import type { GatewayFolds } from './folds.ts';

/** How a gateway comes to its configuration when it starts. */
export interface FirstConfigurationOptions {
  readonly folds: Pick<GatewayFolds, 'route' | 'tenancy' | 'state'>;
  readonly connected: () => boolean;
  /** This process, or one beside it, is about to apply a document. */
  readonly applies: boolean;
}

/**
 * What has to be known before a request can be judged: without the log every key is unknown, and without a document everything is as if
 * nobody had configured it. What was in force before stays in force until then, so a gateway that starts again waits for the log alone.
 */
export class FirstConfiguration {
  readonly #options: FirstConfigurationOptions;
  #settled = false;

  constructor(options: FirstConfigurationOptions) {
    this.#options = options;
  }

  /** The document was applied, or refused: then there is nothing to wait for. */
  settle(): void {
    this.#settled = true;
  }

  /** Undefined where requests can be served. */
  waitsFor(): string | undefined {
    const { folds, connected, applies } = this.#options;
    const { route } = folds.state();
    // It is recorded behind all that it brought: what comes before is a part of it.
    const isApplied = route.configurations.size > 0;
    if (!folds.route.caughtUp || !folds.tenancy.caughtUp) {
      // With the broker away what a snapshot told of it is better than nothing.
      return isApplied && !connected() ? undefined : 'the log is not read yet';
    }
    return isApplied || this.#settled || !applies ? undefined : 'the configuration is not applied yet';
  }
}
