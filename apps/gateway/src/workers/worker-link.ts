import type { Server as TcpServer } from 'node:net';
import type { Environment } from '#libs/kernel';
import type { RunningGateway } from '../gateway.ts';
import { listenAt, listenOn } from '../http-server.ts';
import { workerLimits as limits } from './limits.ts';
import type { FromWorker, ToWorker } from './protocol.ts';

export interface Started {
  /** It is the one that applies the configuration file. */
  readonly applies: boolean;
  readonly whenReady: boolean;
}

/** The raw socket of a server: a server that is sent begins to accept where it arrives, and the supervisor must not. */
const socketOf = (server: TcpServer): object => (server as unknown as { readonly _handle: object })._handle;

/** A worker's side of the channel to its supervisor. */
export class WorkerLink {
  readonly #environment: Environment;
  readonly #started = Promise.withResolvers<Started>();
  readonly #scrapes = new Map<number, (text: string) => void>();
  #scrapeId = 0;
  #handed: object | undefined;
  #gateway: RunningGateway | undefined;
  #leave: () => void = () => {};

  constructor(environment: Environment) {
    this.#environment = environment;
    process.on('message', (message: ToWorker, handle: unknown) => this.#told(message, handle));
  }

  /** What to do, and how; nothing is done before. */
  async started(): Promise<Started> {
    return await this.#started.promise;
  }

  async listen(server: TcpServer, host: string, port: number): Promise<number> {
    return this.#handed === undefined
      ? await listenAt(server, { host, port, shared: true })
      : await listenOn(server, this.#handed);
  }

  /** It serves. `leave`: a successor does; `orphaned`: the supervisor is gone. */
  serving(gateway: RunningGateway, leave: () => void, orphaned: () => void): void {
    this.#gateway = gateway;
    this.#leave = leave;
    process.on('disconnect', orphaned);
    this.#say({ kind: 'serving', url: gateway.url });
  }

  /** The metrics of all workers; only its own where the supervisor says nothing. */
  async scrape(own: () => Promise<string>): Promise<string> {
    const id = ++this.#scrapeId;
    const answer = Promise.withResolvers<string | undefined>();
    const late = this.#environment.timers.after(limits.scrapeMsMax, () => answer.resolve(undefined));
    this.#scrapes.set(id, answer.resolve);
    this.#say({ kind: 'scrape', id });
    const text = await answer.promise;
    late.cancel();
    this.#scrapes.delete(id);
    return text ?? (await own());
  }

  #told(message: ToWorker, handle: unknown): void {
    switch (message.kind) {
      case 'start':
        if (message.handed) this.#handed = handle as object;
        this.#started.resolve({ applies: message.applies, whenReady: message.whenReady });
        return;
      case 'socket':
        if (this.#gateway !== undefined) this.#say({ kind: 'socket' }, socketOf(this.#gateway.listener));
        return;
      case 'leave':
        this.#leave();
        return;
      case 'scraped':
        this.#scrapes.get(message.id)?.(message.text);
        return;
      case 'metrics':
        void this.#gateway?.metrics().then((text) => this.#say({ kind: 'metrics', id: message.id, text }));
    }
  }

  #say(message: FromWorker, handle?: object): void {
    if (process.connected !== true) return;
    // A supervisor that died meanwhile is told of by `disconnect`.
    process.send?.(message, handle as never, undefined, () => {});
  }
}
