import type {
  AttemptExplanation,
  CandidateExplanation,
  CommitExplanation,
  ForecastExplanation,
  PickExplanation,
  RequestExplanation,
  WhyAnswer,
} from '#libs/domain/diag';
import { stageText } from '#libs/domain/diag';
import { nanoText } from './money.ts';
import { noteText } from './pick-notes.ts';
import type { Cell, Column } from './table.ts';
import { table } from './table.ts';
import type { Layout, Style } from './text.ts';
import { blocks, clean, facts, plural } from './text.ts';
import { age, columnValue, count, duration, microseconds, score, time, unknown } from './units.ts';

/** Losing candidates shown of a pick unless all are asked for. */
export const candidatesShownMax = 16;

const notScored = '–';

const policyName = ({ policyId, policyVersion }: PickExplanation): string =>
  policyId === '' ? 'built-in default' : `policy ${policyId} v${policyVersion}`;

/** Chosen first, then who computes its prompt, then by total, then those that a filter removed. */
function ranked({ candidates, partner }: PickExplanation): CandidateExplanation[] {
  const rank = (one: CandidateExplanation): number => {
    if (one.chosen) return 0;
    if (one.replicaId === partner) return 1;
    return one.filteredBy === null ? 2 : 3;
  };
  return [...candidates].sort(
    (a, b) =>
      rank(a) - rank(b) || (b.total ?? -Infinity) - (a.total ?? -Infinity) || (a.replicaId < b.replicaId ? -1 : 1),
  );
}

function verdict(
  one: CandidateExplanation,
  winner: CandidateExplanation | undefined,
  partner: string | null,
  { paint }: Layout,
): Cell {
  if (one.replicaId === partner) return { text: 'chosen for the prompt', style: paint.green };
  if (one.chosen) return { text: 'chosen', style: paint.green };
  if (one.filteredBy !== null) return { text: `filtered: ${one.filteredBy}`, style: paint.yellow };
  const [best, own] = [winner?.total ?? null, one.total];
  if (best === null || own === null) return 'not picked';
  const behind = best - own;
  return behind === 0 ? 'tied' : behind > 0 ? `behind ${score(behind)}` : `ahead ${score(-behind)}`;
}

function candidateTable(pick: PickExplanation, layout: Layout, all: boolean): string {
  const { paint } = layout;
  const rows = ranked(pick);
  const winner = rows.find(({ chosen }) => chosen);
  const scorers = Object.keys(rows[0]?.scores ?? {});
  const inputs = Object.keys(rows[0]?.inputs ?? {});
  const weightOf = (index: number): string => {
    const weight = pick.scorers[index]?.weight;
    return weight === undefined ? '' : ` ×${weight}`;
  };
  const columns: Column[] = [
    { title: ' ', sticky: true },
    { title: 'replica', sticky: true },
    { title: 'verdict' },
    { title: 'total', align: 'right' },
    ...scorers.map((name, index) => ({ title: `${name}${weightOf(index)}`, align: 'right' as const })),
    ...inputs.flatMap((name) => [
      { title: name, align: 'right' as const },
      { title: 'age', joined: true },
    ]),
  ];
  const row = (one: CandidateExplanation): Cell[] => {
    const helps = one.replicaId === pick.partner;
    const out = one.filteredBy !== null && !helps;
    const style: Style = one.chosen || helps ? paint.bold : out ? paint.dim : (text) => text;
    const scored = (value: number | null): Cell => ({
      text: (out || helps) && value === null ? notScored : score(value),
      style,
    });
    return [
      {
        text: one.chosen ? '▶' : helps ? '▷' : out ? '✗' : ' ',
        style: one.chosen || helps ? paint.green : paint.yellow,
      },
      { text: one.replicaId, style },
      verdict(one, winner, pick.partner, layout),
      scored(one.total),
      ...scorers.map((name) => scored(one.scores[name] ?? null)),
      ...inputs.flatMap((name): Cell[] => {
        const { value, ageMs } = one.inputs[name] ?? { value: null, ageMs: null };
        return [
          { text: columnValue(name, value), style: value === null ? paint.yellow : style },
          { text: value === null ? '' : age(ageMs), style: paint.dim },
        ];
      }),
    ];
  };
  const shown = all ? rows : rows.slice(0, candidatesShownMax);
  const hidden = rows.slice(shown.length);
  const removed = hidden.filter(({ filteredBy }) => filteredBy !== null).length;
  const more =
    hidden.length === 0
      ? ''
      : `\n  … ${hidden.length} more candidates, ${removed} of them filtered out; --all shows them`;
  return `${table(columns, shown.map(row), layout)}${more}`;
}

function pickBlock(request: RequestExplanation, index: number, layout: Layout, all: boolean): string {
  const pick = request.picks[index] as PickExplanation;
  const { paint } = layout;
  const which = request.picks.length === 1 ? 'candidates' : `pick ${index + 1} of ${request.picks.length}`;
  const title = `${paint.bold(which)}  ${clean(`${pick.strategy || unknown} · ${policyName(pick)} · picker ${pick.picker?.type ?? unknown}`)}`;
  const notes = pick.notes.length === 0 ? '' : `\n${paint.yellow(`  ! ${pick.notes.map(noteText).join('; ')}`)}`;
  if (pick.candidates.length === 0) return `${title}\n  no replica was a candidate${notes}`;
  return `${title}\n${candidateTable(pick, layout, all)}${notes}`;
}

function attemptsBlock(request: RequestExplanation, layout: Layout): string {
  const { attempts, picks } = request;
  if (attempts.length === 0) return '';
  const handed = attempts.some(({ role }) => role !== null);
  const translated = attempts.some(({ sentAs = '' }) => sentAs !== '');
  const { paint } = layout;
  const columns: Column[] = [
    { title: ' ' },
    { title: 'replica' },
    ...(picks.length > 1 ? [{ title: 'pick' }] : []),
    ...(handed ? [{ title: 'role' }] : []),
    { title: 'from', align: 'right' },
    { title: 'first byte', align: 'right' },
    { title: 'to', align: 'right' },
    { title: 'end' },
    { title: 'HTTP', align: 'right' },
    ...(translated ? [{ title: 'sent as' }] : []),
    { title: 'error' },
  ];
  const good = (end: string): boolean => end === 'answered';
  const row = (attempt: AttemptExplanation, index: number): Cell[] => [
    String(index + 1),
    attempt.replicaId,
    ...(picks.length > 1 ? [String(attempt.pick + 1)] : []),
    ...(handed ? [attempt.role ?? 'all'] : []),
    `+${duration(attempt.startMs)}`,
    attempt.firstByteMs === null ? unknown : `+${duration(attempt.firstByteMs)}`,
    `+${duration(attempt.endMs)}`,
    { text: attempt.end, style: good(attempt.end) ? paint.green : paint.red },
    attempt.httpStatus === 0 ? unknown : String(attempt.httpStatus),
    ...(translated ? [attempt.sentAs || 'as it came'] : []),
    attempt.error,
  ];
  return `${paint.bold('attempts')}\n${table(columns, attempts.map(row), layout)}`;
}

function timingsText(timings: RequestExplanation['timings']): string {
  const of = (name: string): string => duration(timings[name]);
  const steps = [
    `body read ${of('bodyReadMs')}`,
    ...(typeof timings['queuedMs'] === 'number' ? [`waited for room ${of('queuedMs')}`] : []),
    `picked ${of('pickedMs')} (deciding took ${microseconds(timings['pickUs'])})`,
    `first byte ${of('firstByteMs')}`,
    `total ${of('totalMs')}`,
  ].join(' → ');
  return typeof timings['tpotMs'] === 'number'
    ? `${steps} · per token ${of('tpotMs')}, longest gap ${of('tokenGapMsMax')}`
    : steps;
}

function forecastText({ ttftForecast, finishForecast }: RequestExplanation): string {
  const one = (what: string, forecast: ForecastExplanation | null | undefined): string[] => {
    if (forecast == null) return [];
    const { predictedMs, lowMs, highMs, measuredMs, decile } = forecast;
    const range = lowMs === null ? '' : ` (${duration(lowMs)} to ${duration(highMs)} eight in ten)`;
    const place = decile === null ? '' : `, decile ${decile}`;
    return [`${what} in ${duration(predictedMs)}${range}, came in ${duration(measuredMs)}${place}`];
  };
  return [...one('first token', ttftForecast), ...one('end', finishForecast)].join('\n');
}

function handoverText(handover: RequestExplanation['handover']): string {
  if (handover === null) return '';
  const { connector, prefillMs, transferMs, tokens } = handover;
  const first = prefillMs === null ? 'both sides at once' : `prompt computed in ${duration(prefillMs)}`;
  return `~${count(tokens)} tokens by ${connector} · ${first} · first byte ${duration(transferMs)} later`;
}

function tunnelText({ tunnel }: RequestExplanation): string {
  if (tunnel == null) return '';
  const { bytesUp, bytesDown, messagesUp, messagesDown, closeCode } = tunnel;
  const close = closeCode === null ? 'no close frame was seen' : `closed with ${closeCode}`;
  return `up ${plural(messagesUp, 'message')}, ${plural(bytesUp, 'byte')} · down ${plural(messagesDown, 'message')}, ${plural(bytesDown, 'byte')} · ${close}`;
}

/** Nothing where no replica served it. */
function costText({ cost }: RequestExplanation): string {
  if (cost === undefined || cost.state === 'nothing') return '';
  if (cost.state === 'unpriced') return `${unknown} (unpriced: its model had no price, or its tokens were not counted)`;
  return `${nanoText(cost.nano)} ${cost.currency}, by the prices of commit #${cost.priceSeq}`;
}

function usageText(usage: RequestExplanation['usage']): string {
  if (usage === null) return `${unknown} (no usage was seen)`;
  const number = (name: string): string => {
    const value = usage[name];
    return typeof value === 'number' ? count(value) : unknown;
  };
  const counted = `${number('completionTokens')} completion tokens`;
  // Without the engine's usage the prompt is an estimate, and what was cached nobody knows.
  return usage['fromEngine'] === true
    ? `${number('promptTokens')} prompt (${number('cachedTokens')} cached) + ${counted}, the engine's own count`
    : `~${number('promptTokens')} prompt (${unknown} cached) + ${counted}, counted by the gateway: the engine sent no usage`;
}

function askedText(request: RequestExplanation): string {
  const { features } = request;
  const tokens = features['promptTokens'];
  const about = features['promptTokensExact'] === true ? '' : '~';
  return [
    request.endpoint,
    `model ${request.model || unknown}`,
    ...(request.adapter === '' ? [] : [`adapter ${request.adapter}`]),
    request.stream ? 'streamed' : 'not streamed',
    ...(typeof tokens === 'number' ? [`${about}${count(tokens)} prompt tokens`] : []),
    ...(typeof features['maxTokens'] === 'number' && features['maxTokens'] > 0
      ? [`at most ${count(features['maxTokens'])} more`]
      : []),
  ].join(' · ');
}

/** Each model or pool that was looked at, in order. */
function ledText({ modelChoice }: RequestExplanation): string {
  if (modelChoice == null) return '';
  const { asked, looks } = modelChoice;
  const steps = looks.map((look) => {
    const state = look.ready === 0 ? `none of ${look.known} ready` : `${look.ready} ready, ${look.full} full`;
    const why = look.cause === 'first' ? '' : ` after ${look.cause}`;
    return `${look.taken ? '▶ ' : ''}${stageText(look)}${why} [${state}]`;
  });
  return `${asked} → ${steps.join(' → ')}`;
}

function whoText({ tenantId, projectId, userId, keyId, endUser, clientAddress }: RequestExplanation): string {
  const named = [
    ['project', projectId],
    ['user', userId],
    ['key', keyId],
    ['end user', endUser],
    ['from', clean(clientAddress)],
  ] as const;
  return [
    tenantId === '' ? 'no tenant' : `tenant ${tenantId}`,
    ...named.flatMap(([what, id]) => (id === undefined || id === '' ? [] : [`${what} ${id}`])),
  ].join(' · ');
}

/** One line for each policy version that decided, with the commit that made it. */
function policyText({ picks }: RequestExplanation, commits: readonly CommitExplanation[], layout: Layout): string {
  const one = (pick: PickExplanation): string => {
    const name = pick.policyId === '' ? 'built-in default' : `${pick.policyId} v${pick.policyVersion}`;
    if (pick.policySeq === 0) return `${name}, made by no commit`;
    const made = commits.find(({ seq }) => seq === pick.policySeq);
    return made === undefined
      ? `${name}, made by commit #${pick.policySeq}, which this answer does not hold`
      : `${name}, made by commit ${made.commitId} (#${made.seq}) at ${time(made.atMs ?? made.storedAtMs, layout)} by ${made.actor || unknown}`;
  };
  return [...new Set(picks.map(one))].map(clean).join('\n');
}

function headsText(heads: RequestExplanation['heads']): string {
  return Object.entries(heads)
    .map(([name, seq]) => `${name} #${seq}`)
    .join(' · ');
}

function pluginsText(picks: readonly PickExplanation[]): string {
  const one = ({ filters, scorers, picker, seed, pipelineHash }: PickExplanation): string =>
    [
      ...filters.map(({ type, version }) => `${type}@${version}`),
      ...scorers.map(({ type, version }) => `${type}@${version}`),
      ...(picker === null ? [] : [`${picker.type}@${picker.version}`]),
      `seed ${seed}`,
      `pipeline ${pipelineHash.slice(0, 12) || unknown}`,
    ].join(' · ');
  return [...new Set(picks.map(one))].map(clean).join('\n');
}

/** What `lintel why <request id>` prints: the sentence, then the evidence in the order in which it is asked for. */
export function renderWhyRequest(answer: WhyAnswer, layout: Layout, options: { readonly all?: boolean } = {}): string {
  const request = answer.request as RequestExplanation;
  const { paint } = layout;
  const fallback = `${request.answeredBy ?? 'No replica'} answered. Outcome: ${request.outcome} (HTTP ${request.httpStatus}).`;
  const failed = request.outcome !== 'completed';
  const problem = [request.errorCode, request.errorMessage].filter((text) => text !== '').join(': ');
  return blocks(
    paint.bold(clean(answer.summary ?? fallback)),
    facts(
      [
        ['request', `${clean(request.requestId)}  ${time(request.receivedAtMs, layout)}`],
        ['asked', clean(askedText(request))],
        ['led to', clean(ledText(request))],
        ['by', clean(whoText(request))],
        ['problem', failed && problem !== '' ? paint.red(clean(problem)) : ''],
      ],
      layout,
    ),
    ...request.picks.map((_, index) => pickBlock(request, index, layout, options.all === true)),
    attemptsBlock(request, layout),
    facts(
      [
        ['timings', timingsText(request.timings)],
        ['foretold', forecastText(request)],
        ['hand-over', clean(handoverText(request.handover))],
        ['session', tunnelText(request)],
        ['usage', usageText(request.usage)],
        ['cost', clean(costText(request))],
        ['policy', policyText(request, answer.commits, layout)],
        ['plugins', pluginsText(request.picks)],
        ['read at', clean(headsText(request.heads))],
        ['trace', clean(request.traceparent)],
        [
          'record',
          clean(
            `gateway ${request.gatewayId} boot ${request.bootId} frame ${request.frameSeq}, read from ${answer.source}`,
          ),
        ],
        ['note', answer.note === '' ? '' : paint.yellow(clean(answer.note))],
      ],
      layout,
    ),
  );
}
