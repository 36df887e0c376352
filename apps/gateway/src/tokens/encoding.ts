import { Worker } from 'node:worker_threads';
import type { Timer, Timers } from '#libs/kernel';
import { CodedError, errorText } from '#libs/kernel';
import type { FromEncoder, ToEncoder } from './encoding-messages.ts';
import type { TokensLimits } from './limits.ts';

/** Encodes beside the event loop. */
export interface Encoding {
  load(key: string, folder: string): void;
  forget(key: string): void;
  /** Undefined: as many wait as may. The promise rejects where it took too long or the thread failed. */
  encode(key: string, pieces: readonly string[], chars: number): Promise<readonly Int32Array[]> | undefined;
  stop(): Promise<void>;
}

interface Waiting {
  readonly chars: number;
  readonly done: PromiseWithResolvers<readonly Int32Array[]>;
  readonly late: Timer;
}

/** One thread for all models, started with the first; started anew where it dies, and what waited for it is said to have failed. */
export class ThreadEncoding implements Encoding {
  #worker: Worker | undefined;
  readonly #folders = new Map<string, string>();
  readonly #waiting = new Map<number, Waiting>();
  #chars = 0;
  #ids = 0;

  constructor(
    private readonly timers: Timers,
    private readonly limits: TokensLimits,
    private readonly say: (line: string) => void,
    private readonly main = new URL('./encoding-thread.js', import.meta.url),
  ) {}

  load(key: string, folder: string): void {
    this.#folders.set(key, folder);
    if (this.#worker !== undefined) this.#tell({ kind: 'load', key, folder });
  }

  forget(key: string): void {
    this.#folders.delete(key);
    if (this.#worker !== undefined) this.#tell({ kind: 'forget', key });
  }

  encode(key: string, pieces: readonly string[], chars: number): Promise<readonly Int32Array[]> | undefined {
    const { waitingMax, waitingCharsMax, encodeMsMax } = this.limits;
    if (this.#waiting.size >= waitingMax || this.#chars + chars > waitingCharsMax) return undefined;
    this.#worker ??= this.#start();
    const id = ++this.#ids;
    const done = Promise.withResolvers<readonly Int32Array[]>();
    const late = this.timers.after(encodeMsMax, () =>
      this.#end(id, new CodedError('ENCODING_LATE', `a prompt was not encoded after ${encodeMsMax} ms`)),
    );
    this.#waiting.set(id, { chars, done, late });
    this.#chars += chars;
    this.#tell({ kind: 'encode', id, key, pieces });
    return done.promise;
  }

  async stop(): Promise<void> {
    const worker = this.#worker;
    this.#worker = undefined;
    this.#failAll('the gateway stops');
    await worker?.terminate();
  }

  #start(): Worker {
    const worker = new Worker(this.main, { name: 'tokens' });
    worker.unref();
    worker.on('message', (message: FromEncoder) => {
      if ('encoded' in message) this.#end(message.id, message.encoded);
      else this.#end(message.id, new CodedError('ENCODING_FAILED', message.failed));
    });
    worker.once('error', (error) => this.say(`the thread that encodes prompts failed: ${errorText(error)}`));
    worker.once('exit', () => {
      if (this.#worker !== worker) return;
      this.#worker = undefined;
      this.#failAll('the thread that encodes prompts ended');
    });
    for (const [key, folder] of this.#folders) worker.postMessage({ kind: 'load', key, folder } satisfies ToEncoder);
    return worker;
  }

  #tell(message: ToEncoder): void {
    this.#worker?.postMessage(message);
  }

  #failAll(why: string): void {
    for (const id of this.#waiting.keys()) this.#end(id, new CodedError('ENCODING_FAILED', why));
  }

  #end(id: number, result: readonly Int32Array[] | CodedError): void {
    const waiting = this.#waiting.get(id);
    if (waiting === undefined) return; // it came too late
    this.#waiting.delete(id);
    this.#chars -= waiting.chars;
    waiting.late.cancel();
    if (result instanceof CodedError) waiting.done.reject(result);
    else waiting.done.resolve(result);
  }
}
