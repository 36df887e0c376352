import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ApiError } from './errors.ts';
import type { EngineSimSettings } from './options.ts';

export interface Adapter {
  readonly id: number;
  readonly name: string;
  readonly path: string;
}

const adaptersMax = 4096;
const rankOfUnread = 8;

const userError = (message: string): ApiError => new ApiError(400, message, 'InvalidUserInput');
const missing = (message: string): ApiError => new ApiError(404, message, 'NotFoundError');

/** The adapters that can be asked for by name. Slots and load times are the model's affair. */
export class Adapters {
  readonly #settings: EngineSimSettings;
  readonly #byName = new Map<string, Adapter>();
  /** Also of adapters unloaded since: their sequences still tell events. */
  readonly #ids = new Map<string, number>();
  #nextId = 1;

  constructor(settings: EngineSimSettings) {
    this.#settings = settings;
  }

  get(name: string): Adapter | undefined {
    return this.#byName.get(name);
  }

  idOf(name: string): number | null {
    return this.#ids.get(name) ?? null;
  }

  list(): Adapter[] {
    return [...this.#byName.values()];
  }

  load(name: string, path: string, inPlace: boolean): string {
    if (name === '' || path === '') throw userError("Both 'lora_name' and 'lora_path' must be provided.");
    if (this.#settings.models.includes(name)) {
      throw userError(`The lora adapter '${name}' conflicts with a served base model.`);
    }
    const present = this.#byName.get(name);
    if (present !== undefined && !inPlace) {
      throw userError(
        `The lora adapter '${name}' has already been loaded. If you want to load the adapter in place, set 'load_inplace' to True.`,
      );
    }
    const rank = this.#rankOf(name, path);
    if (rank > this.#settings.maxLoraRank) {
      const message = `Call to add_lora method failed: LoRA rank ${rank} is greater than max_lora_rank ${this.#settings.maxLoraRank}.`;
      throw new ApiError(500, message, 'InternalServerError');
    }
    if (this.#byName.size >= adaptersMax) throw userError(`At most ${adaptersMax} adapters; unload one first.`);
    const id = present?.id ?? this.#nextId++;
    this.#byName.set(name, { id, name, path });
    if (this.#ids.size > adaptersMax) this.#ids.delete(this.#ids.keys().next().value ?? name);
    this.#ids.set(name, id);
    return `Success: LoRA adapter '${name}' added successfully.`;
  }

  unload(name: string): string {
    if (name === '') throw userError("'lora_name' needs to be provided to unload a LoRA adapter.");
    if (!this.#byName.delete(name)) throw missing(`The lora adapter '${name}' cannot be found.`);
    return `Success: LoRA adapter '${name}' removed successfully.`;
  }

  #rankOf(name: string, path: string): number {
    const file = join(path, 'adapter_config.json');
    if (existsSync(file)) {
      const { r } = JSON.parse(readFileSync(file, 'utf8')) as { r?: unknown };
      return typeof r === 'number' ? r : rankOfUnread;
    }
    if (this.#settings.strictAdapters) throw missing(`Loading lora ${name} failed: No adapter found for ${path}`);
    return rankOfUnread;
  }
}
