import {
  EngineModel,
  type FinishReason,
  type KvEvent,
  type SequenceRequest,
  type SequenceView,
} from '#libs/engine-model';
import type { Timer } from '#libs/kernel';
import type { EngineSimSettings } from './options.ts';
import { SimMetrics } from './metrics.ts';

export interface TokenSink {
  /** `last` says that this token ends the sequence anyway. True ends it here with reason `stop`. */
  token(token: number, view: SequenceView, last: boolean): boolean;
  finished(reason: FinishReason, view: SequenceView): void;
}

export interface Ticket {
  readonly view: SequenceView;
  abort(): void;
}

/** Drives an engine model by real timers: one timer per step, whatever the number of streams. */
export class LiveEngine {
  readonly model: EngineModel;
  readonly metrics: SimMetrics;
  readonly #settings: EngineSimSettings;
  readonly #sinks = new Map<number, TokenSink>();
  #timer: Timer | undefined;
  #timerMs = Infinity;
  #closed = false;
  readonly #whenEmpty: (() => void)[] = [];
  #pumping = false;
  onKvEvents: ((events: readonly KvEvent[]) => void) | undefined;

  constructor(settings: EngineSimSettings, rank = 0) {
    this.#settings = settings;
    this.metrics = new SimMetrics(settings, rank);
    this.model = new EngineModel(
      {
        profile: settings.profile,
        maxNumSeqs: settings.maxNumSeqs,
        maxNumBatchedTokens: settings.maxNumBatchedTokens,
        blockSize: settings.blockSize,
        blocks: settings.blocks,
        prefixCaching: settings.prefixCaching,
        maxLoras: settings.maxLoras,
        speed: settings.speed,
        seed: settings.seed,
      },
      {
        token: (view, token, nowMs) => {
          this.metrics.token(view, nowMs);
          return this.#sinks.get(view.id)?.token(token, view, view.outputs >= view.request.outputTokens) ?? true;
        },
        finished: (view, reason) => {
          this.metrics.finished(view, reason);
          const sink = this.#sinks.get(view.id);
          this.#sinks.delete(view.id);
          sink?.finished(reason, view);
          if (this.#sinks.size === 0 && this.#whenEmpty.length > 0) queueMicrotask(() => this.#emptied());
        },
        kvEvents: (events) => this.onKvEvents?.(events),
        step: (report) => this.metrics.step(report),
      },
    );
  }

  nowMs(): number {
    return this.#settings.environment.clock.monotonicMs();
  }

  get busy(): boolean {
    const { maxNumQueuedReqs } = this.#settings;
    return maxNumQueuedReqs !== undefined && this.#sinks.size >= maxNumQueuedReqs;
  }

  /** Requests inside: running, waiting or asleep. */
  get inside(): number {
    return this.#sinks.size;
  }

  submit(request: SequenceRequest, sink: TokenSink): Ticket {
    const view = this.model.add(request, this.nowMs());
    this.#sinks.set(view.id, sink);
    queueMicrotask(() => this.pump()); // not at once: nobody gets a token before its ticket
    return {
      view,
      abort: () => {
        this.model.abort(view.id, this.nowMs());
        this.pump();
      },
    };
  }

  /** Brings the model to now and sets the timer for what comes next. */
  pump(): void {
    if (this.#closed || this.#pumping) return; // a sink called back: the outer call goes on
    this.#pumping = true;
    try {
      this.model.advance(this.nowMs());
    } finally {
      this.#pumping = false; // one bad sink must not stop the others' engine
    }
    const nextMs = this.model.nextEventMs();
    if (nextMs === this.#timerMs) return;
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#timerMs = nextMs;
    if (nextMs === Infinity) return;
    this.#timer = this.#settings.environment.timers.after(Math.max(0, nextMs - this.nowMs()), () => {
      this.#timerMs = Infinity;
      this.pump();
    });
  }

  release(id: number): boolean {
    const released = this.model.release(id);
    this.pump();
    return released;
  }

  abortAll(): void {
    for (const id of this.#sinks.keys()) this.model.abort(id, this.nowMs());
    this.pump();
  }

  /** Aborts what is inside, as the real engine does by default, and forgets the KV. */
  sleep(level: 1 | 2): void {
    this.abortAll();
    this.model.sleep(level, this.nowMs());
    this.pump();
  }

  /** Resolves when it serves again. */
  async wake(): Promise<void> {
    const nowMs = this.nowMs();
    const readyMs = this.model.wake(nowMs);
    this.pump();
    if (readyMs > nowMs) await this.#settings.environment.timers.sleep(readyMs - nowMs);
  }

  pause(mode: 'abort' | 'wait' | 'keep'): Promise<void> {
    if (mode === 'abort') this.abortAll();
    return new Promise((paused) => {
      const halt = (): void => {
        this.model.pause(this.nowMs());
        if (mode !== 'keep') this.model.resetPrefixCache();
        this.pump();
        paused();
      };
      if (mode === 'wait' && this.#sinks.size > 0) this.#whenEmpty.push(halt);
      else halt();
    });
  }

  resume(): void {
    this.model.resume(this.nowMs());
    this.pump();
  }

  renderMetrics(): string {
    this.pump();
    const { model } = this;
    return this.metrics.render({
      counts: model.counts(),
      sleepLevel: model.sleepLevel,
      adapters: model.adaptersInUse(),
    });
  }

  #emptied(): void {
    if (this.#sinks.size > 0) return; // another came in between: the next end asks again
    for (const act of this.#whenEmpty.splice(0)) act();
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }
}
