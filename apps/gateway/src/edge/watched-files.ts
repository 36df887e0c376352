import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import type { Timer, Timers } from '#libs/kernel';
import { CodedError, errorCode, errorText } from '#libs/kernel';
import { edgeLimits } from './limits.ts';

/** Texts of files by what each is for. */
export type Texts = Readonly<Record<string, string>>;

export interface WatchedFilesOptions {
  /** By what each is for; undefined: there is none. */
  readonly files: Readonly<Record<string, string | undefined>>;
  readonly timers: Timers;
  /** Puts what was read in force. What it throws leaves what was in force before. */
  readonly apply: (texts: Texts) => void;
  readonly say: (line: string) => void;
  /** 'applied' or 'refused', each time. */
  readonly counted?: (result: 'applied' | 'refused') => void;
}

/**
 * Files that belong together, as a certificate and its key do, read again when they change. New content is put in force when two looks
 * found the same: one that is being written is not taken for whole. What is refused is told once for each content.
 */
export class WatchedFiles {
  readonly #options: WatchedFilesOptions;
  #inForce = '';
  #seen = '';
  #told = '';
  #busy = false;
  #timer: Timer | undefined;

  constructor(options: WatchedFilesOptions) {
    this.#options = options;
  }

  /** Reads them for the first time and goes on looking. @throws FILE_UNREADABLE, and what `apply` throws */
  async start(): Promise<void> {
    const texts = await readTexts(this.#options.files);
    this.#options.apply(texts);
    this.#inForce = this.#seen = hashOf(texts);
    this.#timer = this.#options.timers.every(edgeLimits.filePollMs, () => void this.look());
  }

  /** The same at once, for few and small files: what cannot be put in force is told, and looked at until it can. */
  startNow(): void {
    this.#timer = this.#options.timers.every(edgeLimits.filePollMs, () => void this.look());
    try {
      const texts: Record<string, string> = {};
      for (const [name, file] of Object.entries(this.#options.files)) {
        if (file !== undefined) texts[name] = readFileSync(file, 'utf8');
      }
      this.#seen = hashOf(texts);
      this.#options.apply(texts);
      this.#inForce = this.#seen;
    } catch (thrown) {
      this.#refuse(errorText(thrown), this.#seen === '' ? errorText(thrown) : this.#seen);
    }
  }

  stop(): void {
    this.#timer?.cancel();
  }

  /** One look. */
  async look(): Promise<void> {
    if (this.#busy) return;
    this.#busy = true;
    try {
      const texts = await readTexts(this.#options.files);
      const hash = hashOf(texts);
      const settled = hash === this.#seen;
      this.#seen = hash;
      if (hash === this.#inForce) this.#told = '';
      else if (settled && hash !== this.#told) this.#take(texts, hash);
    } catch (thrown) {
      this.#refuse(errorText(thrown), errorText(thrown));
    } finally {
      this.#busy = false;
    }
  }

  #take(texts: Texts, hash: string): void {
    try {
      this.#options.apply(texts);
    } catch (thrown) {
      this.#refuse(errorText(thrown), hash);
      return;
    }
    this.#inForce = hash;
    this.#told = '';
    this.#options.counted?.('applied');
    this.#options.say(`${this.#names()} read again: now in force`);
  }

  #refuse(why: string, content: string): void {
    if (this.#told === content) return;
    this.#told = content;
    this.#options.counted?.('refused');
    this.#options.say(`${this.#names()} refused, what was in force stays in force: ${why}`);
  }

  #names(): string {
    return Object.values(this.#options.files)
      .filter((file) => file !== undefined)
      .join(', ');
  }
}

async function readTexts(files: WatchedFilesOptions['files']): Promise<Texts> {
  const texts: Record<string, string> = {};
  for (const [name, file] of Object.entries(files)) if (file !== undefined) texts[name] = await readText(file);
  return texts;
}

async function readText(file: string): Promise<string> {
  const bytesMax = edgeLimits.certificateFileBytesMax;
  try {
    const handle = await open(file, 'r');
    try {
      if ((await handle.stat()).size > bytesMax) throw new Error(`it is larger than ${bytesMax} bytes`);
      return await handle.readFile('utf8');
    } finally {
      await handle.close();
    }
  } catch (cause) {
    throw new CodedError('FILE_UNREADABLE', `cannot read ${file}: ${errorCode(cause) || errorText(cause)}`, {
      advice: 'Give a PEM file that the gateway may read.',
      cause,
    });
  }
}

function hashOf(texts: Texts): string {
  const hash = createHash('sha256');
  for (const [name, text] of Object.entries(texts)) hash.update(`${name}\0${text}\0`);
  return hash.digest('hex');
}
