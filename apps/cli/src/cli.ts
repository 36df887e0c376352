import type { Durable } from '#libs/domain/diag';
import { CodedError, errorText, systemClock } from '#libs/kernel';
import { ApiClient } from './http/client.ts';
import { findServer } from './http/find-server.ts';
import type { Io } from './io.ts';
import { layoutOf } from './io.ts';
import type { Layout, Paint } from './render/text.ts';
import { ansi, plain } from './render/text.ts';

export interface GlobalOptions {
  readonly api?: string;
  readonly adminKey?: string;
  readonly ca?: string;
  readonly home?: string;
  readonly json?: boolean;
  /** False with --no-color. */
  readonly color?: boolean;
}

const progressEveryMs = 5_000;
const drawEveryMs = 100;
const notDurable = 'NOT DURABLE: this Lintel has no broker; its log is in memory and ends with it.';

/** Empty counts as unset, as for every variable of Lintel. */
const given = (text: string | undefined): string | undefined => (text === '' ? undefined : text);

/** One run of one command: what it was told, whom it asks, how it answers. */
export class Cli {
  readonly json: boolean;
  readonly layout: Layout;
  readonly notePaint: Paint;
  readonly home: string;
  #client: ApiClient | undefined;
  #durabilitySaid = false;
  #lineDrawn = false;
  /** Where each line stays, the first one comes only when there is something to wait for. */
  #progressAtMs: number;

  constructor(
    readonly io: Io,
    private readonly options: GlobalOptions,
  ) {
    this.#progressAtMs = io.live ? Number.NEGATIVE_INFINITY : systemClock.monotonicMs();
    const colors = options.color !== false;
    this.json = options.json === true;
    this.layout = layoutOf(io, colors && io.colors.out);
    this.notePaint = colors && io.colors.note ? ansi : plain;
    this.home = given(options.home) ?? '.lintel';
  }

  async api(): Promise<ApiClient> {
    if (this.#client === undefined) {
      const { api, adminKey, ca } = this.options;
      const where = { api: given(api), adminKey: given(adminKey), ca: given(ca), home: this.home };
      this.#client = new ApiClient(await findServer(where));
      this.durable(this.#client.server.durability);
    }
    return this.#client;
  }

  /** The answer itself with --json, else as a person reads it. @throws API_ANSWER_UNUSABLE */
  async answer(answer: object, render: (layout: Layout) => string): Promise<void> {
    this.durable((answer as Partial<Durable>).durability);
    if (this.json) await this.say(JSON.stringify(answer, null, this.io.width === undefined ? 0 : 2));
    else await this.say(this.#laidOut(render));
  }

  /** An answer of another shape than this program knows is no bug of the reader. */
  #laidOut(render: (layout: Layout) => string): string {
    try {
      return render(this.layout);
    } catch (cause) {
      throw new CodedError('API_ANSWER_UNUSABLE', `the answer is not as this lintel knows it: ${errorText(cause)}`, {
        advice: 'Is diagnostics of the same version? With --json the answer is shown as it is.',
        cause,
      });
    }
  }

  /** One line of a streamed answer: NDJSON with --json, else its text where it has one. */
  async line(value: unknown, text: string | undefined): Promise<void> {
    if (this.json) await this.say(JSON.stringify(value));
    else if (text !== undefined) await this.say(text);
  }

  async say(text: string): Promise<void> {
    this.endProgress();
    await this.io.out(`${text}\n`);
  }

  note(text: string): void {
    this.endProgress();
    this.io.note(`${text}\n`);
  }

  /** How far a long command is: one line drawn over itself on a terminal, else a line now and then. */
  progress(text: string): void {
    if (this.json) return;
    const nowMs = systemClock.monotonicMs();
    if (nowMs - this.#progressAtMs < (this.io.live ? drawEveryMs : progressEveryMs)) return;
    this.#progressAtMs = nowMs;
    if (this.io.live) {
      this.io.note(`\r\u001B[K… ${text}`);
      this.#lineDrawn = true;
    } else this.io.note(`… ${text}\n`);
  }

  endProgress(): void {
    if (this.#lineDrawn) this.io.note('\r\u001B[K');
    this.#lineDrawn = false;
  }

  /** Of what was answered, or of the Lintel that was found; said once. */
  durable(durability: 'memory' | 'disk' | undefined): void {
    if (durability !== 'memory' || this.#durabilitySaid) return;
    this.#durabilitySaid = true;
    this.note(this.notePaint.yellow(notDurable));
  }
}
