import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import type { Timers } from '#libs/kernel';
import { CodedError, errorCode, errorText } from '#libs/kernel';
import type { DesiredConfiguration, LintelConfig } from '#libs/nest-kit';
import { contentHash, desiredOf, changedSettings, loadConfig, parseConfig, watchConfig } from '#libs/nest-kit';

export interface LoadedConfiguration {
  readonly config: LintelConfig;
  readonly contentHash: string;
}

/** @throws CONFIG_UNREADABLE, CONFIG_INVALID with file, line and suggestion */
export async function readConfigurationFile(file: string): Promise<LoadedConfiguration> {
  // Checks size and readability; the text is read again, once, so that content and hash are of the same bytes.
  await loadConfig(file);
  const text = await readFile(file, 'utf8');
  return { config: parseConfig(text, file), contentHash: contentHash(text) };
}

export interface ApplyTo {
  apply(desired: DesiredConfiguration, from: { source: string; contentHash: string }): Promise<readonly string[]>;
}

export interface Say {
  info(line: string): void;
  warn(line: string): void;
}

/** While the log is away, the newest content is tried again after this. */
const applyAgainMs = 5_000;

/**
 * Keeps what the gateway was told equal to the file: applies it, watches it, applies each valid edit in the order of saving. An invalid
 * edit, or one that is refused, is told with its lines and the configuration before it stays in force.
 */
export class ConfigurationFile {
  readonly #source: string;
  #wanted: LoadedConfiguration;
  #applying = false;
  #watch: { stop(): void } | undefined;
  #stopped = false;

  constructor(
    private readonly file: string,
    private readonly loaded: LoadedConfiguration,
    private readonly target: ApplyTo,
    private readonly timers: Timers,
    private readonly say: Say,
  ) {
    this.#source = `config:${basename(file)}`;
    this.#wanted = loaded;
  }

  /** Resolves when the first content is applied, refused, or its log turned out to be away. */
  async start(): Promise<void> {
    this.#watch = watchConfig(this.file, this.loaded.contentHash, this.timers, {
      changed: (config, hash) => this.#changed({ config, contentHash: hash }),
      refused: (reason) => this.say.warn(`${this.file} refused, what was in force stays in force:\n${reason}`),
    });
    await this.#applyOnce(this.#wanted);
  }

  stop(): void {
    this.#stopped = true;
    this.#watch?.stop();
  }

  #changed(loaded: LoadedConfiguration): void {
    const restart = changedSettings(loaded.config, this.loaded.config);
    if (restart.length > 0) this.say.warn(`${this.file}: ${restart.join(', ')} takes effect at the next start`);
    this.#wanted = loaded;
    void this.#keepApplying();
  }

  /** One at a time; where several contents came meanwhile, the newest. */
  async #keepApplying(): Promise<void> {
    if (this.#applying) return;
    this.#applying = true;
    try {
      for (let done: LoadedConfiguration | undefined; done !== this.#wanted && !this.#stopped;) {
        done = this.#wanted;
        await this.#applyOnce(done);
      }
    } finally {
      this.#applying = false;
    }
  }

  async #applyOnce({ config, contentHash }: LoadedConfiguration): Promise<void> {
    try {
      const lines = await this.target.apply(desiredOf(config, this.#source), { source: this.#source, contentHash });
      this.say.info(`${this.file} applied: ${lines.length === 0 ? 'nothing changes' : `\n  ${lines.join('\n  ')}`}`);
    } catch (thrown) {
      const advice = thrown instanceof CodedError && thrown.advice !== undefined ? ` ${thrown.advice}` : '';
      this.say.warn(`${this.file} not applied: ${errorText(thrown)}.${advice}`);
      if (errorCode(thrown) !== 'CONFIG_APPLY_UNAVAILABLE') return;
      this.timers.after(applyAgainMs, () => void (this.#stopped || this.#keepApplying()));
    }
  }
}
