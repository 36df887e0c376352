import type { Timer, Timers } from '#libs/kernel';
import { errorCode, errorText } from '#libs/kernel';
import type { ContentFormat, OpenPrompt } from '#libs/tokenizer';
import { filesSignature, isOpen, ModelTokenizer, readModelFiles } from '#libs/tokenizer';
import type { EngineTokens } from './engine-tokens.ts';
import type { Encoding } from './encoding.ts';
import type { TokensLimits } from './limits.ts';
import { tokensLimits } from './limits.ts';
import type { NoTokens, TokensOf } from './tokens-of.ts';

/** Of `tokenizers` in lintel.yaml. */
export interface TokenizerEntry {
  readonly path: string;
  readonly contentFormat?: ContentFormat | undefined;
}

interface Model {
  readonly name: string;
  readonly entry: TokenizerEntry;
  signature: string;
  tokenizer: ModelTokenizer | undefined;
  /** It made other tokens than the engine does: not believed until its files change. */
  differs: boolean;
  /** Requests whose tokens were known, and those compared since the files were read. */
  known: number;
  checked: number;
  checking: boolean;
}

export interface ModelTokensOptions {
  readonly encoding: Encoding;
  /** Undefined: nothing is compared. */
  readonly engine?: EngineTokens | undefined;
  readonly timers: Timers;
  readonly say: (line: string) => void;
  readonly limits?: TokensLimits;
}

/** Tokenizers of the models that the configuration names, from the folders of their files, which are read again when they change. */
export class ModelTokens implements TokensOf {
  /** Requests by model and by what became of their tokens. */
  readonly counts = new Map<string, Map<string, number>>();
  readonly #models = new Map<string, Model>();
  readonly #options: ModelTokensOptions;
  readonly #limits: TokensLimits;
  #look: Timer | undefined;
  #looking: Promise<void> = Promise.resolve();

  constructor(options: ModelTokensOptions) {
    this.#options = options;
    this.#limits = options.limits ?? tokensLimits;
  }

  get any(): boolean {
    return this.#models.size > 0;
  }

  get models(): readonly {
    readonly name: string;
    readonly tokenizer: ModelTokenizer | undefined;
    readonly differs: boolean;
  }[] {
    return [...this.#models.values()];
  }

  /** What the configuration says now. Resolves when all files were read; what cannot be read is said, and looked at again. */
  async configure(entries: Readonly<Record<string, TokenizerEntry>>): Promise<void> {
    for (const name of this.#models.keys()) {
      const entry = entries[name];
      const known = this.#models.get(name)?.entry;
      if (entry?.path === known?.path && entry?.contentFormat === known?.contentFormat) continue;
      this.#models.delete(name);
      this.#options.encoding.forget(name);
    }
    for (const [name, entry] of Object.entries(entries)) {
      if (this.#models.has(name)) continue;
      this.#models.set(name, {
        name,
        entry,
        signature: '',
        tokenizer: undefined,
        differs: false,
        known: 0,
        checked: 0,
        checking: false,
      });
    }
    if (this.#models.size === 0) this.stop();
    else {
      this.#look ??= this.#options.timers.every(this.#limits.filesLookMs, () => void this.#lookAtFiles());
      await this.#lookAtFiles();
    }
  }

  stop(): void {
    this.#look?.cancel();
    this.#look = undefined;
  }

  of(model: string, path: string, body: Buffer): Int32Array | NoTokens {
    const known = this.#models.get(model);
    if (known === undefined) return 'no-tokenizer';
    const found = this.#of(known, path, body);
    this.#count(model, typeof found === 'string' ? found : 'known');
    if (typeof found !== 'string') this.#sample(known, path, body, found);
    return found;
  }

  #of({ name, tokenizer, differs }: Model, path: string, body: Buffer): Int32Array | NoTokens {
    if (tokenizer === undefined) return 'loading';
    if (differs) return 'differs';
    if (body.length > this.#limits.bodyBytesMax) return 'too-long';
    const prompt = tokenizer.open(path, body.toString('utf8'));
    if ('unknown' in prompt) return prompt.unknown;
    if (!isOpen(prompt)) return prompt;
    if (prompt.found.missingChars <= this.#limits.atOnceCharsMax) return tokenizer.encode(prompt);
    return this.#encodeBeside(name, tokenizer, prompt);
  }

  #encodeBeside(name: string, tokenizer: ModelTokenizer, { found }: OpenPrompt): NoTokens {
    const encoded = this.#options.encoding.encode(name, found.missing, found.missingChars);
    if (encoded === undefined) return 'overloaded';
    encoded.then(
      (pieces) => tokenizer.cache.keep(found, pieces),
      (error: unknown) => {
        this.#count(name, 'failed');
        this.#options.say(`tokens of a prompt of ${name}: ${errorText(error)}`);
      },
    );
    return 'computing';
  }

  /** Compares the first few requests and then each so manyth with what the engine makes of them. */
  #sample(model: Model, path: string, body: Buffer, tokens: Int32Array): void {
    const { engine } = this.#options;
    const { checkedFirst, checkEach, checkBodyBytesMax } = this.#limits;
    const due = model.checked < checkedFirst || model.known >= checkEach;
    model.known++;
    if (engine === undefined || !due || model.checking || body.length > checkBodyBytesMax) return;
    const { tokenizer, name } = model;
    // The body's buffer may be used again before the engine is asked.
    const copy = Buffer.from(body);
    if (tokenizer?.isGiven(path, copy.toString('utf8')) === true) return; // the client's own ids
    model.checking = true;
    model.known = 0;
    model.checked++; // asked in vain counts, too: who has no /tokenize is not asked each time
    engine(name, path, copy)
      .then((theirs) => {
        if (theirs === undefined) return this.#count(name, 'unchecked');
        if (theirs.length === tokens.length && tokens.every((token, at) => token === theirs[at])) {
          return this.#count(name, 'agreed');
        }
        this.#count(name, 'disagreed');
        if (model.tokenizer !== tokenizer) return undefined;
        model.differs = true;
        return this.#options.say(
          `tokenizer of ${name}: the engine makes other tokens of a request to ${path} (${theirs.length}, here ${tokens.length}); ` +
            'its prompts are compared by their text until its files change. Name the folder that the engine serves.',
        );
      })
      .catch((error: unknown) => {
        this.#count(name, 'unchecked');
        this.#options.say(`tokenizer of ${name}: not compared with the engine: ${errorText(error)}`);
      })
      .finally(() => {
        model.checking = false;
      });
  }

  #count(model: string, result: string): void {
    let counts = this.counts.get(model);
    if (counts === undefined) this.counts.set(model, (counts = new Map()));
    counts.set(result, (counts.get(result) ?? 0) + 1);
  }

  #lookAtFiles(): Promise<void> {
    this.#looking = this.#looking.then(async () => {
      for (const model of this.#models.values()) await this.#read(model);
    });
    return this.#looking;
  }

  async #read(model: Model): Promise<void> {
    const { name, entry } = model;
    const { say, encoding } = this.#options;
    const signature = await filesSignature(entry.path);
    if (signature === model.signature) return;
    model.signature = signature;
    try {
      const tokenizer = new ModelTokenizer(await readModelFiles(entry.path, entry.contentFormat));
      if (this.#models.get(name) !== model) return;
      model.tokenizer = tokenizer;
      model.differs = false;
      model.known = model.checked = 0;
      encoding.load(name, entry.path);
      if (tokenizer.files.template === undefined)
        say(`tokenizer of ${name}: no chat template, chat requests stay unknown`);
    } catch (error) {
      const kept =
        model.tokenizer === undefined ? 'its prompts are compared by their text' : 'the one before stays in force';
      say(`tokenizer of ${name}: ${errorText(error)} (${String(errorCode(error))}); ${kept}`);
    }
  }
}
