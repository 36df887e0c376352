import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { CodedError, errorText, type Timers } from '#libs/kernel';
import {
  type DesiredConfiguration,
  type LintelConfig,
  contentHash,
  changedSettings,
  loadConfig,
  watchConfig,
} from '#libs/nest-kit';
import type { ExtraReplica } from './desired.ts';
import { desiredConfiguration } from './desired.ts';

export interface ConfigurationFile {
  readonly file: string;
  readonly config: LintelConfig;
  readonly contentHash: string;
}

/** @throws CONFIG_UNREADABLE, CONFIG_INVALID with file, line and suggestion */
export async function readConfiguration(file: string | undefined): Promise<ConfigurationFile | undefined> {
  if (file === undefined) return undefined;
  const config = await loadConfig(file);
  // Read once more for its hash: a change between the two reads is seen by the watch.
  return { file, config, contentHash: contentHash(await readFile(file, 'utf8')) };
}

interface Target {
  apply(
    desired: DesiredConfiguration,
    from: { readonly source: string; readonly contentHash: string },
  ): Promise<readonly string[]>;
  /** Files of this machine: not on the log, and so not part of what is applied. */
  tokenize?(tokenizers: LintelConfig['tokenizers']): Promise<void>;
}

/** Brings the file's content, with what the flags add to it, into the gateway; again whenever the file changes. */
export class Configuration {
  #applying: Promise<unknown> = Promise.resolve();

  constructor(
    readonly file: ConfigurationFile | undefined,
    readonly extra: readonly ExtraReplica[],
    readonly apiKey: string | undefined,
    readonly target: Target,
    readonly report: (line: string) => void,
  ) {}

  async applyFirst(): Promise<readonly string[]> {
    return await this.#apply(this.file?.config, this.file?.contentHash ?? '');
  }

  /** An invalid edit is refused with its lines, and what runs is kept. */
  watch(timers: Timers): { stop(): void } {
    const { file } = this;
    if (file === undefined) return { stop: () => {} };
    return watchConfig(file.file, file.contentHash, timers, {
      changed: (config, hash) => {
        const restart = changedSettings(config, file.config);
        if (restart.length > 0)
          this.report(`${file.file}: ${restart.join(', ')} changed: takes effect at the next start`);
        // One after another: the order in which contents were saved is the order in which they are applied.
        this.#applying = this.#applying.then(async () => {
          try {
            const lines = await this.#apply(config, hash);
            await this.target.tokenize?.(config.tokenizers);
            this.report(`${file.file} applied: ${lines.length === 0 ? 'nothing changes' : lines.join('; ')}`);
          } catch (error) {
            const advice = error instanceof CodedError && error.advice !== undefined ? ` ${error.advice}` : '';
            this.report(`${file.file} not applied: ${errorText(error)}${advice}`);
          }
        });
      },
      refused: (reason) => this.report(`${file.file} refused, the configuration before it stays in force:\n${reason}`),
    });
  }

  async #apply(config: LintelConfig | undefined, hash: string): Promise<readonly string[]> {
    const source = this.file === undefined ? 'flags' : `config:${resolve(this.file.file)}`;
    return await this.target.apply(desiredConfiguration(config, this.file?.file, this.extra, this.apiKey), {
      source,
      contentHash: hash,
    });
  }
}
