import type { SequenceRequest, SequenceView } from '#libs/engine-model';
import { a100Llama8b, EngineModel } from '#libs/engine-model';
import { CodedError, SeededRng } from '#libs/kernel';
import type { Flight } from '#libs/latency-model';
import { FleetSignals, signalGroups } from '#libs/latency-model';
import type { PluginParams, RequestFeatures } from '#libs/scheduling';
import { CandidateTable, compilePipeline, resolveStrategy } from '#libs/scheduling';
import type { Percentiles } from '../report.ts';
import { percentiles } from '../report.ts';

export type PdRole = 'prefill' | 'decode' | 'combined';

export interface PdOptions {
  readonly roles: readonly PdRole[];
  readonly strategy: string;
  readonly params?: PluginParams;
  readonly requests: number;
  readonly requestsPerS: number;
  /** Tokens of each request, drawn uniformly between a half and one and a half of it. */
  readonly promptTokens: number;
  readonly outputTokens: number;
  readonly seed: number;
  /** Times as slow as the engines' own link. */
  readonly linkSlowdown?: number;
}

export interface PdReport {
  readonly ttftMs: Percentiles;
  readonly tpotMs: Percentiles;
  readonly e2eMs: Percentiles;
  /** Requests that were computed in two places. */
  readonly split: number;
  readonly perReplica: readonly number[];
  readonly endMs: number;
}

const bits: Readonly<Record<PdRole, number>> = { prefill: 1 | 8, decode: 2 | 4, combined: 4 };
const blockSize = 16;
const eventsMax = 5_000_000;

interface Job {
  readonly index: number;
  readonly arrivedMs: number;
  readonly prompt: Int32Array;
  readonly outputTokens: number;
  firstTokenMs: number;
  finishedMs: number;
  flight: Flight | undefined;
  decode: number;
}

class Part implements SequenceRequest {
  readonly finish = 'length';
  readonly prompt: Int32Array;

  constructor(
    readonly job: Job,
    readonly outputTokens: number,
    readonly holdBlocks: boolean,
    readonly remoteTokens: number | undefined,
  ) {
    this.prompt = job.prompt;
  }

  token(index: number): number {
    return 1_000_000 + index;
  }
}

/** Role sets on one virtual clock: the scheduler's own strategy before engine models that hand KV over. Made for one run. */
class PdRun {
  readonly #options: PdOptions;
  readonly #engines: readonly EngineModel[];
  readonly #signals = new FleetSignals();
  readonly #table = new CandidateTable();
  readonly #jobs: Job[] = [];
  readonly #inflight: number[];
  readonly #perReplica: number[];
  #nowMs = 0;
  #split = 0;
  #done = 0;

  constructor(options: PdOptions) {
    this.#options = options;
    const { roles, requests, requestsPerS, promptTokens, outputTokens, seed, linkSlowdown = 1 } = options;
    const profile = { ...a100Llama8b, transferTokenMs: a100Llama8b.transferTokenMs * linkSlowdown };
    this.#engines = roles.map(
      (_, index) =>
        new EngineModel(
          {
            profile,
            maxNumSeqs: 256,
            maxNumBatchedTokens: 2_048,
            blockSize,
            blocks: profile.kvBlocks,
            prefixCaching: true,
            maxLoras: 1,
            speed: 1,
            seed: 1,
          },
          {
            token: (sequence) => this.#token(sequence),
            finished: (sequence) => this.#finished(index, sequence),
          },
        ),
    );
    this.#inflight = roles.map(() => 0);
    this.#perReplica = roles.map(() => 0);
    const rng = new SeededRng(seed);
    let atMs = 0;
    for (let index = 0; index < requests; index++) {
      atMs += (-Math.log(1 - rng.next()) * 1_000) / requestsPerS;
      const length = Math.max(1, Math.round(promptTokens * (0.5 + rng.next())));
      this.#jobs.push({
        index,
        arrivedMs: atMs,
        prompt: Int32Array.from({ length }, (_, place) => (index * 8_191 + place) % 900_000),
        outputTokens: Math.max(2, Math.round(outputTokens * (0.5 + rng.next()))),
        firstTokenMs: Number.NaN,
        finishedMs: Number.NaN,
        flight: undefined,
        decode: -1,
      });
    }
  }

  run(): PdReport {
    let next = 0;
    for (let events = 0; this.#done < this.#jobs.length; events++) {
      if (events > eventsMax) throw new CodedError('FLEET_RUN_UNBOUNDED', `no end after ${eventsMax} events`);
      const arrival = this.#jobs[next];
      let engine = 0;
      const due = this.#engines.map((each) => each.nextEventMs());
      for (let index = 1; index < due.length; index++) if (due[index]! < due[engine]!) engine = index;
      if (arrival !== undefined && arrival.arrivedMs < (due[engine] as number)) {
        next++;
        this.#nowMs = arrival.arrivedMs;
        this.#arrive(arrival);
      } else {
        this.#nowMs = due[engine] as number;
        (this.#engines[engine] as EngineModel).advance(this.#nowMs);
      }
    }
    for (const each of this.#engines) each.check();
    const jobs = this.#jobs;
    return {
      ttftMs: percentiles(Float64Array.from(jobs, ({ firstTokenMs, arrivedMs }) => firstTokenMs - arrivedMs)),
      tpotMs: percentiles(
        Float64Array.from(jobs, (job) => (job.finishedMs - job.firstTokenMs) / (job.outputTokens - 1)),
      ),
      e2eMs: percentiles(Float64Array.from(jobs, ({ finishedMs, arrivedMs }) => finishedMs - arrivedMs)),
      split: this.#split,
      perReplica: this.#perReplica,
      endMs: this.#nowMs,
    };
  }

  #arrive(job: Job): void {
    const { roles, strategy, params } = this.#options;
    const compiled = compilePipeline(resolveStrategy(strategy, params));
    const wanted = signalGroups(compiled.reads);
    const promptTokens = job.prompt.length;
    const asked = { tenant: '', model: 'm', promptTokens, maxTokens: 0 };
    this.#signals.ask(asked, wanted, this.#nowMs);
    const table = this.#table;
    table.reset();
    for (const [index, role] of roles.entries()) {
      const row = table.add(`r${index}`);
      table.set(row, 'inflight', this.#inflight[index] as number);
      table.set(row, 'warmth', 1);
      table.set(row, 'roles', bits[role]);
      table.set(row, 'pairGroup', 1);
      const load = this.#signals.replica(`r${index}`);
      this.#signals.write(table, row, load, this.#signals.latency(load, 'm', 1), wanted, this.#nowMs);
    }
    const features: RequestFeatures = {
      bodyBytes: promptTokens * 4,
      promptTokens,
      promptTokensExact: true,
      maxTokens: 0,
      sessionHash: 0,
      prefixBlocks: 0,
      sloTtftMs: 0,
      sloTpotMs: 0,
    };
    const { chosen, partner } = compiled.decide(features, table, job.index);
    job.decode = chosen;
    this.#perReplica[chosen]!++;
    if (partner < 0) {
      this.#dispatch(job, chosen, new Part(job, job.outputTokens, false, undefined), undefined);
      return;
    }
    this.#split++;
    this.#dispatch(job, partner, new Part(job, 1, true, undefined), undefined);
  }

  #dispatch(job: Job, replica: number, part: Part, transferredTokens: number | undefined): void {
    const load = this.#signals.replica(`r${replica}`);
    const promptTokens = job.prompt.length;
    const sent = {
      tenant: '',
      model: 'm',
      promptTokens,
      cachedTokens: transferredTokens === undefined ? 0 : promptTokens,
      outputTokens: part.outputTokens,
      stream: true,
      transferredTokens,
    };
    job.flight = this.#signals.sent(load, this.#signals.latency(load, 'm', 1), sent, this.#nowMs);
    this.#inflight[replica]!++;
    (this.#engines[replica] as EngineModel).add(part, this.#nowMs);
  }

  #token(sequence: SequenceView): void {
    if (sequence.outputs !== 1) return;
    const { job, holdBlocks } = sequence.request as Part;
    this.#signals.firstToken(job.flight as Flight, this.#nowMs);
    if (!holdBlocks) job.firstTokenMs = this.#nowMs;
  }

  #finished(replica: number, sequence: SequenceView): void {
    const { job, holdBlocks } = sequence.request as Part;
    this.#inflight[replica]!--;
    const promptTokens = job.prompt.length;
    const landed = { whole: !holdBlocks, promptTokens, outputTokens: job.outputTokens, cachedTokens: 0 };
    this.#signals.landed(job.flight as Flight, landed, this.#nowMs);
    if (!holdBlocks) {
      job.finishedMs = this.#nowMs;
      this.#done++;
      return;
    }
    // The decode side has fetched what was held once its own sequence begins; the blocks are let go at once, as after a copy.
    (this.#engines[replica] as EngineModel).release(sequence.id);
    this.#dispatch(job, job.decode, new Part(job, job.outputTokens, false, promptTokens), promptTokens);
  }
}

/** Serves requests by role sets, or by replicas that do all of them. Pure: the same options give the same report. */
export const simulatePd = (options: PdOptions): PdReport => new PdRun(options).run();
