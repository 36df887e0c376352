// The engine inside llama-server.mjs: node-llama-cpp with one sequence per slot, a queue, prefix reuse and counters.
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const BATCH = 512;
const DETOKENIZE_TAIL = 8; // tokens before the new one that decide about its leading space
const PENALTY_TAIL = 64; // llama.cpp's repeat_last_n

export async function loadLibrary(libDir) {
  const library = await import(pathToFileURL(join(libDir, 'node_modules', 'node-llama-cpp', 'dist', 'index.js')).href);
  const llama = await library.getLlama({
    gpu: false,
    build: 'never',
    skipDownload: true,
    progressLogs: false,
    logLevel: 'error',
    maxThreads: 1,
  });
  return { llama };
}

/** An error that is answered with a status and llama.cpp's error type. */
export class RequestError extends Error {
  constructor(status, type, message, more = {}) {
    super(message);
    Object.assign(this, { status, type, more });
  }
}

/** Removes stop strings; keeps back text that may be the beginning of one. */
export class StopFilter {
  #held = '';
  constructor(stops) {
    this.stops = stops;
    this.stopped = false;
  }
  push(text) {
    this.#held += text;
    const found = this.stops.map((stop) => this.#held.indexOf(stop)).filter((index) => index >= 0);
    if (found.length > 0) {
      this.stopped = true;
      return this.#release(Math.min(...found));
    }
    let keep = 0;
    for (const stop of this.stops) {
      for (let length = Math.min(stop.length - 1, this.#held.length); length > keep; length--)
        if (this.#held.endsWith(stop.slice(0, length))) keep = length;
    }
    return this.#release(this.#held.length - keep);
  }
  #release(length) {
    const text = this.#held.slice(0, length);
    this.#held = this.stopped ? '' : this.#held.slice(length);
    return text;
  }
  end() {
    return this.#release(this.#held.length);
  }
}

export class LlamaEngine {
  counters = {
    promptTokens: 0,
    promptSeconds: 0,
    predictedTokens: 0,
    predictedSeconds: 0,
    tokensMax: 0,
    processing: 0,
  };
  #waiting = [];

  static async load({ libDir, modelPath, contextSize, parallel }) {
    const engine = new LlamaEngine();
    const { llama } = await loadLibrary(libDir);
    const { Template } = createRequire(join(libDir, 'package.json'))('@huggingface/jinja');
    const model = await llama.loadModel({ modelPath, gpuLayers: 0 });
    const context = await model.createContext({ contextSize, sequences: parallel, threads: 1, batchSize: BATCH });
    const slots = Array.from({ length: parallel }, (_, id) => ({
      id,
      busy: false,
      usedAt: 0,
      sequence: context.getSequence(),
    }));
    const metadata = model.fileInfo.metadata;
    const fullStop = model.tokenize('.').at(-1);
    Object.assign(engine, { llama, fullStop, model, context, slots, contextSize: context.contextSize, metadata });
    engine.chatTemplate = metadata.tokenizer.chat_template;
    engine.template = new Template(engine.chatTemplate);
    return engine;
  }

  async dispose() {
    await this.llama.dispose();
  }

  get deferred() {
    return this.#waiting.length;
  }

  renderChat(messages) {
    return this.template.render({
      messages,
      add_generation_prompt: true,
      bos_token: this.model.tokens.bosString,
      eos_token: this.model.tokens.eosString,
    });
  }

  tokenize(text, addSpecial = false) {
    const tokens = this.model.tokenize(text);
    return addSpecial && this.model.tokens.shouldPrependBosToken ? [this.model.tokens.bos, ...tokens] : tokens;
  }

  /** The free slot that already holds most of the prompt, or the one unused for longest; waits in order if none is free. */
  async #takeSlot(tokens, signal) {
    const free = () => this.slots.filter((slot) => !slot.busy);
    const wait = (place) =>
      new Promise((resolve, reject) => {
        const entry = { resolve };
        this.#waiting[place](entry);
        signal.addEventListener('abort', () => {
          this.#waiting = this.#waiting.filter((other) => other !== entry);
          reject(signal.reason);
        });
      });
    if (this.#waiting.length > 0) await wait('push');
    for (let place = 'push'; free().length === 0; place = 'unshift') await wait(place);
    const shared = (slot) => slot.sequence.compareContextTokens(tokens).firstDifferentIndex;
    const [slot] = free().sort((a, b) => shared(b) - shared(a) || a.usedAt - b.usedAt);
    slot.busy = true;
    this.counters.processing++;
    return slot;
  }

  #giveSlot(slot) {
    slot.busy = false;
    slot.usedAt = performance.now();
    this.counters.processing--;
    this.#waiting.shift()?.resolve();
  }

  /**
   * Generates. Yields {text} pieces and at last {done: {finishReason, promptTokens, cachedTokens, completionTokens, promptSeconds, predictedSeconds}}.
   * Ends without the last one when the signal is aborted.
   */
  async *generate(request) {
    const { tokens, signal } = request;
    if (tokens.length >= this.contextSize) {
      const counts = { n_prompt_tokens: tokens.length, n_ctx: this.contextSize };
      throw new RequestError(
        400,
        'exceed_context_size_error',
        `request (${tokens.length} tokens) exceeds the available context size (${this.contextSize} tokens), try increasing it`,
        counts,
      );
    }
    const slot = await this.#takeSlot(tokens, signal);
    try {
      if (!signal.aborted) yield* this.#generateIn(slot, request);
    } finally {
      this.#giveSlot(slot);
    }
  }

  async *#generateIn({ sequence }, { tokens, maxTokens, stops, sampling, penalties, ignoreEos, signal }) {
    const room = this.contextSize - tokens.length;
    const limit = maxTokens < 0 ? room : Math.min(maxTokens, room);
    const began = performance.now();
    await sequence.adaptStateToTokens(tokens.slice(0, -1), false); // the last one is always evaluated, for its logits
    const cachedTokens = sequence.nextTokenIndex;
    const tail = tokens.slice(-PENALTY_TAIL);
    const options = { ...sampling };
    if (penalties) options.repeatPenalty = { ...penalties, punishTokens: () => tail };
    const filter = new StopFilter(stops);
    let finishReason = 'length';
    let completionTokens = 0;
    let firstAt;
    const account = () => {
      const now = performance.now();
      const promptSeconds = ((firstAt ?? now) - began) / 1000;
      const predictedSeconds = firstAt ? (now - firstAt) / 1000 : 0;
      this.counters.promptSeconds += promptSeconds;
      this.counters.predictedSeconds += predictedSeconds;
      this.counters.promptTokens += tokens.length - cachedTokens;
      this.counters.predictedTokens += completionTokens;
      this.counters.tokensMax = Math.max(this.counters.tokensMax, sequence.nextTokenIndex);
      return { promptSeconds, predictedSeconds };
    };
    if (limit > 0) {
      finishReason = 'stop'; // the loop ends by itself only at the end-of-text token
      for await (const token of this.#tokens(sequence, tokens.slice(cachedTokens), options, ignoreEos)) {
        firstAt ??= performance.now();
        if (signal.aborted) {
          account();
          return;
        }
        completionTokens++;
        const text = filter.push(this.model.detokenize([token], false, tail.slice(-DETOKENIZE_TAIL)));
        tail.push(token);
        if (tail.length > PENALTY_TAIL) tail.shift();
        if (text) yield { text };
        if (filter.stopped) break;
        if (completionTokens >= limit) {
          finishReason = 'length';
          break;
        }
      }
    }
    const rest = filter.stopped ? '' : filter.end();
    if (rest) yield { text: rest };
    yield { done: { finishReason, promptTokens: tokens.length, cachedTokens, completionTokens, ...account() } };
  }

  /**
   * The generated tokens, without the end-of-text one. With ignoreEos that one is replaced by a full stop and generation
   * goes on (the library refuses to forbid it by a bias, as llama.cpp's server does).
   */
  async *#tokens(sequence, prompt, options, ignoreEos) {
    const generated = sequence.evaluate(prompt, { ...options, yieldEogToken: true });
    try {
      let next = await generated.next();
      while (!next.done) {
        const ends = this.model.isEogToken(next.value);
        if (ends && !ignoreEos) return;
        const token = ends ? this.fullStop : next.value;
        yield token;
        next = await generated.next(token);
      }
    } finally {
      await generated.return();
    }
  }

  /** Embeddings by a context of their own, made when first asked for; one text at a time. */
  async embed(text) {
    this.embedding ??= this.model.createEmbeddingContext({ contextSize: this.contextSize, threads: 1 });
    const context = await this.embedding;
    const result = await context.getEmbeddingFor(text);
    return { vector: [...result.vector], tokens: context.calculateInputLength(text) };
  }
}
