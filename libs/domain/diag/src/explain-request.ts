import { outcomeName, route } from '#libs/contracts';
import type { ModelChoiceExplanation } from './explain-choice.ts';
import { explainChoice } from './explain-choice.ts';
import type { CostExplanation } from './explain-cost.ts';
import { explainCost } from './explain-cost.ts';
import { enumName, known } from './json.ts';

export interface InputExplanation {
  /** Null is unknown. */
  readonly value: number | null;
  /** How old the value was at the pick; 0 is counted at that instant. */
  readonly ageMs: number | null;
}

export interface CandidateExplanation {
  readonly replicaId: string;
  readonly chosen: boolean;
  /** Type of the filter that removed it; null where it stayed in the running. */
  readonly filteredBy: string | null;
  readonly total: number | null;
  /** By scorer type, unweighted, in [0, 1]. */
  readonly scores: Readonly<Record<string, number | null>>;
  readonly inputs: Readonly<Record<string, InputExplanation>>;
}

export interface PluginExplanation {
  readonly type: string;
  readonly version: number;
  readonly weight?: number;
}

export interface PickExplanation {
  readonly strategy: string;
  readonly policyId: string;
  readonly policyVersion: number;
  /** Sequence of the commit that made this version; 0 for a built-in default. */
  readonly policySeq: number;
  readonly pipelineHash: string;
  readonly filters: readonly PluginExplanation[];
  readonly scorers: readonly PluginExplanation[];
  readonly picker: PluginExplanation | null;
  readonly seed: number;
  readonly chosen: string | null;
  /** Who computes the prompt for the chosen one; null is nobody else. */
  readonly partner: string | null;
  readonly notes: readonly string[];
  readonly candidates: readonly CandidateExplanation[];
}

export interface AttemptExplanation {
  readonly replicaId: string;
  /** Index into picks. */
  readonly pick: number;
  readonly startMs: number;
  readonly firstByteMs: number | null;
  readonly endMs: number;
  readonly end: string;
  readonly httpStatus: number;
  readonly error: string;
  /** "prefill" or "decode" of a request that was handed over; null did all of it. */
  readonly role: string | null;
  /** Asked while another attempt had not answered yet. */
  readonly hedge?: boolean;
  /** As what it was sent where the engine does not speak what the client spoke, and how that is known; '' went as it came. */
  readonly sentAs?: string;
}

/** What went through a WebSocket session. */
export interface TunnelExplanation {
  readonly bytesUp: number;
  readonly bytesDown: number;
  readonly messagesUp: number;
  readonly messagesDown: number;
  /** Of the first close frame; null where there was none. */
  readonly closeCode: number | null;
}

/** How the KV of the prompt came from the prefill to the decode side. */
export interface HandoverExplanation {
  readonly connector: string;
  /** Null where both sides worked at once. */
  readonly prefillMs: number | null;
  /** Null where no first byte came. */
  readonly transferMs: number | null;
  readonly tokens: number;
}

/** What was foretold of a time when the request was sent to its replica, and what it came to. */
export interface ForecastExplanation {
  readonly predictedMs: number;
  /** One in ten was expected before it, and one in ten after; null is not known yet. */
  readonly lowMs: number | null;
  readonly highMs: number | null;
  readonly measuredMs: number | null;
  /** Into which tenth of what was expected it fell, 1 to 10. */
  readonly decile: number | null;
}

export interface RequestExplanation {
  readonly requestId: string;
  readonly receivedAtMs: number;
  readonly gatewayId: string;
  readonly bootId: string;
  readonly frameSeq: number;
  readonly tenantId: string;
  readonly keyId: string;
  readonly endUser: string;
  /** Of the key; '' where it has none. */
  readonly projectId?: string;
  readonly userId?: string;
  readonly endpoint: string;
  readonly model: string;
  readonly adapter: string;
  readonly stream: boolean;
  readonly profile: string;
  readonly outcome: string;
  readonly httpStatus: number;
  readonly errorCode: string;
  readonly errorMessage: string;
  readonly answeredBy: string | null;
  readonly traceparent: string;
  /** '' where gateways keep none. */
  readonly clientAddress: string;
  readonly features: Readonly<Record<string, number | boolean>>;
  /** Sequences of the folds that were read. */
  readonly heads: Readonly<Record<string, number>>;
  readonly picks: readonly PickExplanation[];
  readonly attempts: readonly AttemptExplanation[];
  /** Milliseconds from receivedAtMs, null where the step was not reached; pickUs is microseconds. */
  readonly timings: Readonly<Record<string, number | null>>;
  readonly usage: Readonly<Record<string, number | boolean>> | null;
  /** Null where the name asked for led to the model of that name. */
  readonly modelChoice?: ModelChoiceExplanation | null;
  readonly handover: HandoverExplanation | null;
  readonly cost?: CostExplanation;
  /** Null where it was no WebSocket session. */
  readonly tunnel?: TunnelExplanation | null;
  /** Null where nothing was foretold, or no answer came whole. */
  readonly ttftForecast?: ForecastExplanation | null;
  readonly finishForecast?: ForecastExplanation | null;
}

interface SpecShape {
  readonly filters?: readonly PluginExplanation[];
  readonly scorers?: readonly PluginExplanation[];
  readonly picker?: PluginExplanation;
}

/** The pipeline as it stands in the record; empty where nobody can read it, which `notes` then says. */
function specOf(json: string): SpecShape | undefined {
  try {
    const value: unknown = JSON.parse(json);
    return typeof value === 'object' && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}

const plugin = ({ type, version, weight }: PluginExplanation): PluginExplanation => ({
  type: String(type),
  version: Number(version),
  ...(weight === undefined ? {} : { weight }),
});

/** A scorer may stand twice in a mix: its second score then needs a name of its own. */
function distinctNames(types: readonly string[]): string[] {
  const seen = new Map<string, number>();
  return types.map((type) => {
    const times = (seen.get(type) ?? 0) + 1;
    seen.set(type, times);
    return times === 1 ? type : `${type}#${times}`;
  });
}

function explainPick(frame: route.RecordFrame, pick: route.Pick): PickExplanation {
  const pipeline = frame.pipelines[pick.pipeline];
  const spec = specOf(pipeline?.json ?? '');
  const filters = (spec?.filters ?? []).map(plugin);
  const scorers = (spec?.scorers ?? []).map(plugin);
  const scorerNames = distinctNames(scorers.map(({ type }) => type));
  const chosenIndex = pick.chosen - 1;
  const replicaOf = (index: number): string => frame.replicaIds[index] ?? `unknown replica ${index}`;
  const candidates = pick.candidates.map((replica, row): CandidateExplanation => {
    const removedBy = pick.filteredBy[row] ?? 0;
    const inputs = pick.columns.map((name, column): [string, InputExplanation] => {
      const cell = row * pick.columns.length + column;
      return [name, { value: known(pick.values[cell]), ageMs: known(pick.agesMs[cell]) }];
    });
    const scores = scorerNames.map((name, at): [string, number | null] => [
      name,
      known(pick.scores[row * scorers.length + at]),
    ]);
    return {
      replicaId: replicaOf(replica),
      chosen: row === chosenIndex,
      filteredBy: removedBy === 0 ? null : (filters[removedBy - 1]?.type ?? `filter ${removedBy}`),
      total: known(pick.totals[row]),
      scores: Object.fromEntries(scores),
      inputs: Object.fromEntries(inputs),
    };
  });
  const unreadable = pipeline === undefined || spec === undefined ? ['the pipeline of this pick cannot be read'] : [];
  return {
    strategy: pipeline?.strategy ?? '',
    policyId: pipeline?.policyId ?? '',
    policyVersion: pipeline?.policyVersion ?? 0,
    policySeq: pipeline?.policySeq ?? 0,
    pipelineHash: pipeline?.hash ?? '',
    filters,
    scorers,
    picker: spec?.picker === undefined ? null : plugin(spec.picker),
    seed: pick.seed,
    chosen: candidates[chosenIndex]?.replicaId ?? null,
    partner: candidates[pick.partner - 1]?.replicaId ?? null,
    notes: [...pick.notes, ...unreadable],
    candidates,
  };
}

/** 0 says that the step was not reached. */
const reached = (value: number | undefined): number | null =>
  value === undefined || value === 0 ? null : known(value);

function timingsOf(timings: route.Timings | undefined): Record<string, number | null> {
  const gaps = timings?.tokenGaps ?? 0;
  return {
    bodyReadMs: reached(timings?.bodyReadMs),
    queuedMs: reached(timings?.queuedMs),
    pickedMs: reached(timings?.pickedMs),
    pickUs: reached(timings?.pickUs),
    firstByteMs: reached(timings?.firstByteMs),
    totalMs: reached(timings?.totalMs),
    tpotMs: gaps === 0 ? null : known((timings?.tokenSpanMs ?? NaN) / gaps),
    tokenGapMsMax: gaps === 0 ? null : known(timings?.tokenGapMsMax),
  };
}

/** A whole record in words that need no dictionary. `record` belongs to `frame`. */
export function explainRequest(frame: route.RecordFrame, record: route.DecisionRecord): RequestExplanation {
  const { features, usage } = record;
  const attempts = record.attempts.map((attempt): AttemptExplanation => ({
    replicaId: frame.replicaIds[attempt.replica] ?? `unknown replica ${attempt.replica}`,
    pick: attempt.pick,
    startMs: attempt.startMs,
    firstByteMs: reached(attempt.firstByteMs),
    endMs: attempt.endMs,
    end: enumName(route.AttemptEndSchema, attempt.end),
    httpStatus: attempt.httpStatus,
    error: [markOf(attempt), attempt.error].filter(Boolean).join('; '),
    role: attempt.role === route.ReplicaRole.UNSPECIFIED ? null : enumName(route.ReplicaRoleSchema, attempt.role),
    hedge: attempt.hedge,
    sentAs: attempt.sentAs,
  }));
  const answeredBy =
    attempts.findLast(({ end, role }) => role !== 'prefill' && (end === 'answered' || end === 'broken_stream'))
      ?.replicaId ?? null;
  const outcome = outcomeName(record.outcome);
  const answered =
    answeredBy !== null || attempts.some(({ role, firstByteMs }) => role !== 'prefill' && firstByteMs !== null);
  return {
    requestId: record.requestId,
    receivedAtMs: record.receivedAtMs,
    gatewayId: frame.gatewayId,
    bootId: frame.bootId,
    frameSeq: frame.frameSeq,
    tenantId: record.tenantId,
    keyId: record.keyId,
    endUser: record.endUser,
    projectId: record.projectId,
    userId: record.userId,
    endpoint: record.endpoint,
    model: record.model,
    adapter: record.adapter,
    stream: record.stream,
    profile: record.profile,
    outcome,
    httpStatus: record.httpStatus,
    errorCode: record.errorCode,
    errorMessage: record.errorMessage,
    answeredBy,
    traceparent: record.traceparent,
    clientAddress: record.clientAddress,
    features:
      features === undefined
        ? {}
        : {
            bodyBytes: features.bodyBytes,
            promptTokens: features.promptTokens,
            promptTokensExact: features.promptTokensExact,
            maxTokens: features.maxTokens,
            sessionHash: features.sessionHash,
            prefixBlocks: features.prefixBlocks,
            sloTtftMs: features.sloTtftMs,
            sloTpotMs: features.sloTpotMs,
          },
    heads: record.heads,
    picks: record.picks.map((pick) => explainPick(frame, pick)),
    attempts,
    timings: timingsOf(record.timings),
    modelChoice: record.modelChoice === undefined ? null : explainChoice(record.modelChoice),
    usage:
      usage === undefined
        ? null
        : {
            promptTokens: usage.promptTokens,
            completionTokens: usage.completionTokens,
            cachedTokens: usage.cachedTokens,
            fromEngine: usage.fromEngine,
          },
    handover:
      record.handover === undefined
        ? null
        : {
            connector: record.handover.connector,
            prefillMs: reached(record.handover.prefillMs),
            transferMs: reached(record.handover.transferMs),
            tokens: record.handover.tokens,
          },
    cost: explainCost(record, { counted: usage !== undefined, answered, outcome }),
    tunnel: record.tunnel === undefined ? null : tunnelOf(record.tunnel),
    ttftForecast: forecastOf(record.ttft),
    finishForecast: forecastOf(record.finish),
  };
}

const tunnelOf = ({ bytesUp, bytesDown, messagesUp, messagesDown, closeCode }: route.Tunnel): TunnelExplanation => ({
  bytesUp,
  bytesDown,
  messagesUp,
  messagesDown,
  closeCode: closeCode === 0 ? null : closeCode,
});

function forecastOf(forecast: route.Forecast | undefined): ForecastExplanation | null {
  if (forecast === undefined) return null;
  const { predictedMs, lowMs, highMs, measuredMs, decile } = forecast;
  return {
    predictedMs,
    lowMs: reached(lowMs),
    highMs: reached(highMs),
    measuredMs: reached(measuredMs),
    decile: decile === 0 ? null : decile,
  };
}

/** What was special about an attempt. */
function markOf({ hedge, continues, continuedTokens }: route.Attempt): string {
  if (continues) return `went on after ${continuedTokens} tokens`;
  return hedge ? 'asked as a hedge' : '';
}
