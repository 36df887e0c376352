import type { CandidateTable, Column } from '#libs/scheduling';
import { columnIndex } from '#libs/scheduling';
import type { Landed, Sent } from './flight.ts';
import { Flight } from './flight.ts';
import { LatencyModel } from './latency-model.ts';
import { latencyModelLimits as limits } from './limits.ts';
import { OutputLengths } from './output-lengths.ts';
import { Forecast } from './ratio-quantiles.ts';
import type { Work } from './replica-load.ts';
import { ReplicaLoad } from './replica-load.ts';
import { TenantTokens } from './tenants.ts';

/** Groups of columns, so that a pick pays for those that its strategy reads. */
const groups = {
  load: ['inflightTokens', 'prefillTokens', 'decoding'],
  rate: ['tokensPerS'],
  measured: ['ttftMs', 'tpotMs', 'measuredInflight'],
  busy: ['busyShare'],
  tenant: ['tenantLevel'],
  work: ['workMs'],
  transfer: ['transferPerKTokenMs'],
  model: [
    'ttftBaseMs',
    'ttftPerKTokenMs',
    'ttftPerDecodingMs',
    'tpotBaseMs',
    'tpotPerDecodingMs',
    'outputTokens',
    'modelVersion',
  ],
} as const satisfies Readonly<Record<string, readonly Column[]>>;

export type SignalGroups = { readonly [Group in keyof typeof groups]: boolean } & { readonly any: boolean };

/** Which groups a strategy reads. */
export function signalGroups(reads: readonly Column[]): SignalGroups {
  const wanted = (names: readonly Column[]): boolean => names.some((name) => reads.includes(name));
  const found = Object.fromEntries(Object.entries(groups).map(([group, names]) => [group, wanted(names)]));
  return { ...found, any: Object.values(found).includes(true) } as SignalGroups;
}

/** For whom a pick is made. */
export interface Asked {
  readonly tenant: string;
  readonly model: string;
  readonly promptTokens: number;
  /** 0 is not said. */
  readonly maxTokens: number;
}

/** Answers longer than this share are taken for exceptions. */
const lengthShare = 0.5;

/**
 * What one gateway learns from its own requests: loads counted at once, latencies measured, latency models fitted, lengths of
 * answers. Pure over its calls: the same calls with the same times come to the same numbers.
 */
export class FleetSignals {
  readonly lengths = new OutputLengths();
  readonly tenants = new TenantTokens();
  readonly #replicas = new Map<string, ReplicaLoad>();
  readonly #models = new Map<string, LatencyModel>();
  /** Over all replicas, for what other gateways have in flight where they tell only the count. */
  #inflight = 0;
  #prefillTokens = 0;
  #decoding = 0;
  #outputTokens = 0;
  #summed = false;
  // Of the pick at hand; the same for all its candidates.
  #outputAsked = Number.NaN;
  #levelAsked = Number.NaN;
  // Of the model that the rows of a pick share, as of its version.
  #of: LatencyModel | undefined;
  #known = false;
  #version = 0;
  #ttftBaseMs = 0;
  #ttftPerKTokenMs = 0;
  #ttftPerDecodingMs = 0;
  #tpotBaseMs = 0;
  #tpotPerDecodingMs = 0;

  replica(id: string): ReplicaLoad {
    let load = this.#replicas.get(id);
    if (load === undefined) this.#replicas.set(id, (load = new ReplicaLoad(id)));
    return load;
  }

  forget(replicaId: string): void {
    this.#replicas.delete(replicaId);
  }

  get replicas(): ReadonlyMap<string, ReplicaLoad> {
    return this.#replicas;
  }

  /** The latency model of a model on the kind of engine that this replica is. */
  latency(load: ReplicaLoad, model: string, engine: string | number): LatencyModel {
    const { latency } = load;
    if (latency !== undefined && latency.model === model && latency.engine === engine) return latency.of;
    const of = this.#latency(model, engine);
    load.latency = { model, engine, of };
    return of;
  }

  #latency(model: string, engine: string | number): LatencyModel {
    const key = `${engine}\n${model}`;
    const known = this.#models.get(key);
    if (known !== undefined) return known;
    if (this.#models.size >= limits.modelsMax) this.#models.delete(this.#models.keys().next().value as string);
    const made = new LatencyModel();
    this.#models.set(key, made);
    return made;
  }

  /** Expected length of an answer: the median of such, and no more than the client lets it be. NaN is unknown. */
  outputTokens({ tenant, model, promptTokens, maxTokens }: Asked): number {
    const learnt = this.lengths.quantile(lengthShare, tenant, model, promptTokens);
    if (maxTokens === 0) return learnt;
    return learnt < maxTokens ? learnt : maxTokens;
  }

  /** Before the rows of a pick. */
  ask(asked: Asked, wanted: SignalGroups, nowMs: number): void {
    this.#outputAsked = wanted.model ? this.outputTokens(asked) : Number.NaN;
    this.#levelAsked = wanted.tenant ? this.tenants.level(asked.tenant, nowMs) : Number.NaN;
    this.#summed = false;
  }

  #readModel(latency: LatencyModel): void {
    this.#of = latency;
    this.#known = latency.known;
    this.#version = latency.version;
    this.#ttftBaseMs = latency.ttftBaseMs;
    this.#ttftPerKTokenMs = latency.ttftPerKTokenMs;
    this.#ttftPerDecodingMs = latency.ttftPerDecodingMs;
    this.#tpotBaseMs = latency.tpotBaseMs;
    this.#tpotPerDecodingMs = latency.tpotPerDecodingMs;
  }

  #sum(): void {
    if (this.#summed) return;
    this.#summed = true;
    this.#inflight = this.#prefillTokens = this.#decoding = this.#outputTokens = 0;
    for (const load of this.#replicas.values()) {
      this.#inflight += load.inflight;
      this.#prefillTokens += load.prefillTokens;
      this.#decoding += load.decoding;
      this.#outputTokens += load.outputTokens;
    }
  }

  /** One row; its `inflight` is written before. `elsewhere`: what other gateways say that their requests there need; undefined where one of them does not. */
  write(
    table: CandidateTable,
    row: number,
    load: ReplicaLoad,
    latency: LatencyModel,
    wanted: SignalGroups,
    nowMs: number,
    elsewhere?: Work,
  ): void {
    if (wanted.load) this.#writeLoad(table, row, load, nowMs, elsewhere);
    if (wanted.rate) table.put(row, columnIndex.tokensPerS, load.tokensPerS(nowMs), 0);
    if (wanted.measured) {
      const { ttft, tpot, busyness } = load;
      if (!Number.isNaN(ttft.value)) {
        table.put(row, columnIndex.ttftMs, ttft.value, nowMs - ttft.atMs);
        table.put(row, columnIndex.measuredInflight, busyness.value, nowMs - ttft.atMs);
      }
      if (!Number.isNaN(tpot.value)) table.put(row, columnIndex.tpotMs, tpot.value, nowMs - tpot.atMs);
    }
    if (wanted.busy) table.put(row, columnIndex.busyShare, load.busyShare(nowMs), 0);
    if (wanted.tenant) table.put(row, columnIndex.tenantLevel, this.#levelAsked, 0);
    if (wanted.work && latency.known) table.put(row, columnIndex.workMs, load.workMs(nowMs), 0);
    const { transfer } = load;
    if (wanted.transfer && !Number.isNaN(transfer.value)) {
      table.put(row, columnIndex.transferPerKTokenMs, transfer.value, nowMs - transfer.atMs);
    }
    if (wanted.model) this.#writeModel(table, row, load, latency, nowMs);
  }

  /** A request goes out. `latency` is the model of its replica's kind. */
  sent(load: ReplicaLoad, latency: LatencyModel, sent: Sent, nowMs: number): Flight {
    load.settle(nowMs);
    const uncached = Math.max(1, sent.promptTokens - sent.cachedTokens);
    const ahead = { tokens: load.prefillTokens + uncached, decoding: load.decoding };
    const { ttftKnown, tpotKnown } = latency;
    const ttftMs = ttftKnown ? latency.ttftMs(ahead) * load.ttftCorrection.factorAt(nowMs) : Number.NaN;
    const tpotMs = tpotKnown ? latency.tpotMs(load.decoding + 1) * slowing(load, latency, nowMs) : Number.NaN;
    const flight = new Flight(load, latency, sent, nowMs, uncached, ahead.tokens, ahead.decoding, ttftMs, tpotMs);
    flight.inflightAhead = load.inflight;
    const output = sent.outputTokens > 0 ? sent.outputTokens : 0;
    if (ttftMs > 0 && sent.transferredTokens === undefined) {
      flight.ttft = new Forecast(ttftMs, latency.ttftRatios.cuts);
      const finishMs = ttftMs + Math.max(0, output - 1) * tpotMs;
      if (output > 0 && finishMs > 0) flight.finish = new Forecast(finishMs, latency.finishRatios.cuts);
    }
    const workMs = (latency.ttftPerKTokenMs * uncached) / 1_000 + latency.tpotPerDecodingMs * output;
    load.take(flight, latency.known ? workMs : 0, nowMs);
    return flight;
  }

  /** The first token of a stream came. */
  firstToken(flight: Flight, nowMs: number): void {
    if (flight.landed || !Number.isNaN(flight.firstTokenMs)) return;
    flight.firstTokenMs = nowMs;
    flight.load.begun(flight, nowMs);
    const tookMs = nowMs - flight.startMs;
    // What a hand-over takes is not what was predicted.
    if (flight.sent.transferredTokens === undefined) flight.measuredTtftMs = tookMs;
    if (flight.ttft !== undefined) flight.latency.ttftRatios.observe(flight.ttft.came(tookMs));
    this.#learnTtft(flight, tookMs, nowMs);
  }

  /** The request is over, however it went. Once for each flight; later calls do nothing. */
  landed(flight: Flight, landed: Landed, nowMs: number): void {
    if (flight.landed) return;
    const { load, sent } = flight;
    load.settle(nowMs);
    const { outputTokens } = landed;
    const promptTokens = landed.promptTokens > 0 ? landed.promptTokens : sent.promptTokens;
    if (landed.whole) {
      this.tenants.count(sent.tenant, promptTokens, outputTokens, nowMs);
      this.lengths.observe(sent.tenant, sent.model, sent.promptTokens, outputTokens);
      if (flight.finish !== undefined) flight.latency.finishRatios.observe(flight.finish.came(nowMs - flight.startMs));
      if (Number.isNaN(flight.firstTokenMs)) this.#learnWhole(flight, outputTokens, nowMs);
      else if (outputTokens > 1) {
        flight.measuredTpotMs = (nowMs - flight.firstTokenMs) / (outputTokens - 1);
        this.#learnTpot(flight, flight.measuredTpotMs, outputTokens - 1, nowMs);
      }
    }
    load.leave(flight, landed.whole ? promptTokens + outputTokens : 0, nowMs);
    flight.landed = true;
  }

  /** An answer that came in one piece: its parts are taken to go by each other as predicted, so that a slow replica is slow in both. */
  #learnWhole(flight: Flight, outputTokens: number, nowMs: number): void {
    const { load, latency } = flight;
    const tookMs = nowMs - flight.startMs;
    const rest = outputTokens - 1;
    if (rest < 1) {
      this.#learnTtft(flight, tookMs, nowMs);
      return;
    }
    let perTokenMs = tookMs / outputTokens;
    if (latency.known) {
      const first = latency.ttftMs({ tokens: flight.prefillTokens, decoding: flight.decodingAhead });
      const each = latency.tpotMs(Math.max(1, load.decoding)) * slowing(load, latency, nowMs);
      const predictedMs = first * load.ttftCorrection.factorAt(nowMs) + rest * each;
      if (predictedMs > 0) perTokenMs = (each * tookMs) / predictedMs;
    }
    this.#learnTpot(flight, perTokenMs, rest, nowMs);
    this.#learnTtft(flight, Math.max(0, tookMs - rest * perTokenMs), nowMs);
  }

  #learnTtft(flight: Flight, tookMs: number, nowMs: number): void {
    const { load, latency } = flight;
    const ahead = { tokens: flight.prefillTokens, decoding: flight.decodingAhead };
    const { transferredTokens } = flight.sent;
    if (transferredTokens !== undefined) {
      if (!latency.ttftKnown || transferredTokens < transferTokensMin) return;
      const extraMs = tookMs - latency.ttftMs(ahead) * load.ttftCorrection.factorAt(nowMs);
      load.transfer.observe((Math.max(0, extraMs) * 1_000) / transferredTokens, nowMs);
      return;
    }
    load.ttft.observe(tookMs, nowMs);
    load.busyness.observe(flight.inflightAhead, nowMs);
    if (latency.ttftKnown) load.ttftCorrection.observe(tookMs, latency.ttftMs(ahead), nowMs);
    latency.observeTtft(ahead, tookMs);
  }

  /** Time per token, less what other prompts took of it meanwhile, by the mean batch that it decoded in. */
  #learnTpot(flight: Flight, tookMs: number, tokens: number, nowMs: number): void {
    const { load, latency } = flight;
    load.tpot.observe(tookMs, nowMs);
    if (!latency.ttftKnown) return;
    const sinceMs = nowMs - flight.begunAtMs;
    const batch = sinceMs > 0 ? (load.decodingMs(nowMs) - flight.decodingMsBefore) / sinceMs : load.decoding;
    const perKTokenMs = latency.ttftPerKTokenMs * load.ttftCorrection.factorAt(nowMs);
    const prefilled = flight.decoding ? load.prefilledTokens - flight.prefilledBefore : 0;
    const othersMs = (perKTokenMs * prefilled) / 1_000 / tokens;
    const ownMs = Math.max(tookMs * ownShareMin, tookMs - othersMs);
    if (ownMs > 0) latency.observeSlowing(tookMs / ownMs);
    if (latency.tpotKnown) load.tpotCorrection.observe(ownMs, latency.tpotMs(Math.max(1, batch)), nowMs);
    latency.observeTpot(Math.max(1, batch), ownMs);
  }

  /** Own tokens, and for requests of other gateways as many as an own one has on the mean. */
  #writeLoad(table: CandidateTable, row: number, load: ReplicaLoad, nowMs: number, elsewhere?: Work): void {
    load.settle(nowMs);
    const ageMs = table.agesMs('inflight')[row] as number;
    const others = (table.values('inflight')[row] as number) - load.inflight;
    let { prefillTokens, decoding, outputTokens } = load;
    if (others > 0 && elsewhere !== undefined) {
      prefillTokens += elsewhere.prefillTokens;
      decoding += elsewhere.decoding;
      outputTokens += elsewhere.outputTokens;
    } else if (others > 0) {
      this.#sum();
      const mean = this.#inflight > 0 ? others / this.#inflight : 0;
      prefillTokens += this.#prefillTokens * mean;
      decoding += this.#inflight > 0 ? this.#decoding * mean : others;
      outputTokens += this.#outputTokens * mean;
    }
    table.put(row, columnIndex.inflightTokens, prefillTokens + outputTokens, ageMs);
    table.put(row, columnIndex.prefillTokens, prefillTokens, ageMs);
    table.put(row, columnIndex.decoding, decoding, ageMs);
  }

  #writeModel(table: CandidateTable, row: number, load: ReplicaLoad, latency: LatencyModel, nowMs: number): void {
    if (latency !== this.#of || latency.version !== this.#version) this.#readModel(latency);
    table.put(row, columnIndex.outputTokens, this.#outputAsked, 0);
    table.put(row, columnIndex.modelVersion, this.#version, 0);
    if (!this.#known) return;
    const first = load.ttftCorrection.factorAt(nowMs);
    const each = slowing(load, latency, nowMs);
    table.put(row, columnIndex.ttftBaseMs, this.#ttftBaseMs * first, 0);
    table.put(row, columnIndex.ttftPerKTokenMs, this.#ttftPerKTokenMs * first, 0);
    table.put(row, columnIndex.ttftPerDecodingMs, this.#ttftPerDecodingMs * first, 0);
    table.put(row, columnIndex.tpotBaseMs, this.#tpotBaseMs * each, 0);
    table.put(row, columnIndex.tpotPerDecodingMs, this.#tpotPerDecodingMs * each, 0);
  }
}

/** What a token takes by that which the model says: the replica's correction, and what prompts take on the whole. */
const slowing = (load: ReplicaLoad, latency: LatencyModel, nowMs: number): number =>
  load.tpotCorrection.factorAt(nowMs) * latency.slowing;

/** Of fewer tokens a hand-over says nothing of what each takes. */
const transferTokensMin = 128;

/** A token took at least this share of its time itself, whatever prompts are said to have taken. */
const ownShareMin = 0.2;
