import type { ChildProcess } from 'node:child_process';
import { fork } from 'node:child_process';
import type { Environment } from '#libs/kernel';
import { workerLimits as limits } from './limits.ts';
import type { FromWorker, ToWorker } from './protocol.ts';

export interface WorkerOptions {
  readonly main: string;
  readonly args: readonly string[];
  readonly variables: NodeJS.ProcessEnv;
  readonly environment: Environment;
  /** A scrape reached this worker: what to answer. */
  readonly scrape: () => Promise<string>;
  /** Takes what it prints; default: the output of this process. */
  readonly output?: ((text: string) => void) | undefined;
}

/** One gateway process, as its supervisor sees it. */
export class WorkerProcess {
  url = '';
  /** It was told to end. */
  ending = false;
  /** Settles when it serves; rejects when it ended before. */
  readonly serving: Promise<void>;
  /** Says how. */
  readonly ended: Promise<string>;
  readonly #child: ChildProcess;
  readonly #timers: Environment['timers'];
  readonly #serving = Promise.withResolvers<void>();
  readonly #asked = new Map<number, (text: string | undefined) => void>();
  readonly #scrape: () => Promise<string>;
  #socket: PromiseWithResolvers<object> | undefined;
  #askId = 0;

  constructor(
    readonly name: string,
    { main, args, variables, environment, scrape, output }: WorkerOptions,
    start: Extract<ToWorker, { kind: 'start' }>,
    socket: object | undefined,
  ) {
    this.#timers = environment.timers;
    this.#scrape = scrape;
    const piped = output !== undefined;
    this.#child = fork(main, [...args], { env: variables, silent: piped });
    if (piped) {
      for (const stream of [this.#child.stdout, this.#child.stderr]) {
        stream?.on('data', (chunk: Buffer) => output(String(chunk)));
      }
    }
    this.#child.on('message', (message: FromWorker, handle: unknown) => this.#told(message, handle));
    this.#child.on('error', () => {});
    this.ended = new Promise((resolve) => {
      this.#child.once('exit', (code, signal) => resolve(signal === null ? `code ${code}` : signal));
    });
    this.serving = this.#serving.promise;
    this.serving.catch(() => {});
    void this.ended.then((how) => {
      this.#serving.reject(new Error(`ended with ${how}`));
      this.#socket?.reject(new Error(`ended with ${how}`));
      for (const answer of this.#asked.values()) answer(undefined);
    });
    this.#say(start, socket);
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** A second owner of the socket that it listens on. @throws where it ends meanwhile */
  async socket(): Promise<object> {
    this.#socket ??= Promise.withResolvers<object>();
    this.#say({ kind: 'socket' });
    return await this.#socket.promise;
  }

  leave(): void {
    this.ending = true;
    this.#say({ kind: 'leave' });
  }

  /** Undefined where it does not answer in time. */
  async metrics(): Promise<string | undefined> {
    const id = ++this.#askId;
    const answer = Promise.withResolvers<string | undefined>();
    const late = this.#timers.after(limits.metricsMsMax, () => answer.resolve(undefined));
    this.#asked.set(id, answer.resolve);
    this.#say({ kind: 'metrics', id });
    const text = await answer.promise;
    late.cancel();
    this.#asked.delete(id);
    return text;
  }

  /** Drains and ends; bounded. */
  async stop(): Promise<void> {
    this.ending = true;
    this.kill('SIGTERM');
    const late = this.#timers.after(limits.stopMsMax, () => this.kill('SIGKILL'));
    await this.ended;
    late.cancel();
  }

  kill(signal: NodeJS.Signals): void {
    if (this.running) this.#child.kill(signal);
  }

  #told(message: FromWorker, handle: unknown): void {
    switch (message.kind) {
      case 'serving':
        this.url = message.url;
        this.#serving.resolve();
        return;
      case 'socket':
        this.#socket?.resolve(handle as object);
        this.#socket = undefined;
        return;
      case 'metrics':
        this.#asked.get(message.id)?.(message.text);
        return;
      case 'scrape':
        void this.#scrape().then((text) => this.#say({ kind: 'scraped', id: message.id, text }));
    }
  }

  #say(message: ToWorker, handle?: object): void {
    // One that died meanwhile is told of by its exit.
    if (this.#child.connected) this.#child.send(message, handle as never, undefined, () => {});
  }
}
