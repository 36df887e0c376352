// What the runs of the routing bench come to: rows with confidence over seeds, who is the best, and tables of it as text and Markdown.
import { dist } from './_common.mjs';

const { estimate, pairedDifference } = await dist('fleet-sim');

const metrics = {
  good: ({ goodShare }) => goodShare * 100,
  goodPerS: ({ goodPerS }) => goodPerS,
  ttft50: ({ ttftMs }) => ttftMs.p50,
  ttft90: ({ ttftMs }) => ttftMs.p90,
  ttft99: ({ ttftMs }) => ttftMs.p99,
  tpot50: ({ tpotMs }) => tpotMs.p50,
  tpot90: ({ tpotMs }) => tpotMs.p90,
  tpot99: ({ tpotMs }) => tpotMs.p99,
  e2e50: ({ e2eMs }) => e2eMs.p50,
  e2e90: ({ e2eMs }) => e2eMs.p90,
  e2e99: ({ e2eMs }) => e2eMs.p99,
  hit: ({ hitRate }) => hitRate * 100,
  spread: ({ loadSpread }) => loadSpread,
};

/** The two that strategies are judged by, and whether more of it is better. */
export const judged = [
  ['goodput', 'good', true],
  ['TTFT p90', 'ttft90', false],
];

export const keyOf = ({ workload, replicas, load, gateways, strategy, seed }) =>
  [workload, replicas, load, gateways, strategy, seed].join('|');

/** One row: estimates of all metrics, and what its picks had to do without. `runs` are by seed. */
function rowOf(strategy, runs) {
  const notes = {};
  let requests = 0;
  for (const report of runs.values()) {
    requests += report.requests;
    for (const [note, count] of Object.entries(report.notes)) notes[note] = (notes[note] ?? 0) + count;
  }
  const all = [...runs.values()];
  return {
    strategy,
    runs,
    seeds: runs.size,
    ...Object.fromEntries(Object.entries(metrics).map(([name, of]) => [name, estimate(all.map(of))])),
    degraded: Object.entries(notes)
      .filter(([note, count]) => /^(?:unknown|stale):/.test(note) && count > requests / 2)
      .map(([note]) => note),
    unfed: all[0].unfed,
  };
}

/** Runs of one workload, fleet and load, with a row for each strategy. `orders`: of workloads and of strategies. */
export function groupsOf(records, orders) {
  const groups = new Map();
  for (const { cell, report } of records) {
    const { workload, replicas, gateways, load, strategy, seed } = cell;
    const key = [workload, replicas, gateways, load].join('|');
    const group = groups.get(key) ?? { workload, replicas, gateways, load, runs: new Map(), offered: [] };
    groups.set(key, group);
    const runs = group.runs.get(strategy) ?? new Map();
    group.runs.set(strategy, runs.set(seed, report));
    group.offered.push(report.offeredPerS);
  }
  const place = (list, name) => (list.includes(name) ? list.indexOf(name) : list.length);
  return [...groups.values()]
    .map(({ runs, offered, ...group }) => ({
      ...group,
      offeredPerS: estimate(offered).mean,
      rows: [...runs]
        .toSorted(([a], [b]) => place(orders.strategies, a) - place(orders.strategies, b))
        .map(([strategy, each]) => rowOf(strategy, each)),
    }))
    .toSorted(
      (a, b) =>
        place(orders.workloads, a.workload) - place(orders.workloads, b.workload) ||
        a.replicas - b.replicas ||
        a.gateways - b.gateways ||
        a.load - b.load,
    );
}

/** Of `row` less `other`, by pairs of the same seed. NaN of none. */
export function difference(row, other, name) {
  const seeds = [...row.runs.keys()].filter((seed) => other.runs.has(seed));
  const of = ({ runs }) => seeds.map((seed) => metrics[name](runs.get(seed)));
  return pairedDifference(of(row), of(other));
}

const pairsOf = (row, other) => [...row.runs.keys()].filter((seed) => other.runs.has(seed)).length;

/** Those that were run with two seeds or more of this one: with one nothing can be told from noise. */
const compared = (row, rows) => rows.filter((other) => other !== row && pairsOf(row, other) > 1);

/** Nobody is better by more than the noise of their pairs. */
export const asGood = (row, rows, name, more) =>
  compared(row, rows).length > 0 &&
  compared(row, rows).every((other) => {
    const { mean, half } = difference(row, other, name);
    return more ? mean >= -half : mean <= half;
  });

/** By pairs with this one, not by means: some were run with fewer seeds. Of those with two pairs or more, where there are such. */
function bestOther(row, rows, name, more) {
  const told = compared(row, rows);
  return (told.length > 0 ? told : rows.filter((other) => other !== row))
    .map((other) => ({ other, by: difference(row, other, name), pairs: pairsOf(row, other) }))
    .filter(({ pairs }) => pairs > 0)
    .reduce((a, b) => ((more ? b.by.mean < a.by.mean : b.by.mean > a.by.mean) ? b : a));
}

const shown = ({ mean, half }, digits = 0) =>
  Number.isNaN(mean) ? '–' : `${mean.toFixed(digits)}${half > 0 ? ` ±${half.toFixed(digits)}` : ''}`;
const signed = ({ mean, half }, digits) =>
  `${mean > 0 ? '+' : ''}${mean.toFixed(digits)}${half >= 0 ? ` ±${half.toFixed(digits)}` : ''}`;
const three = (row, name) => [50, 90, 99].map((p) => row[`${name}${p}`].mean.toFixed(0)).join(' / ');

export const head = [
  'strategy',
  'good %',
  'good/s',
  'TTFT p90',
  'TTFT p50/90/99',
  'TPOT p50/90/99',
  'E2E p50/90/99',
  'hit %',
  'spread',
];

export function lines({ rows }) {
  const most = Math.max(...rows.map(({ seeds }) => seeds));
  return rows.map((row) => {
    const marks = row.degraded.length > 0 || row.unfed.length > 0 ? ' †' : '';
    return [
      `${row.strategy}${marks}${row.seeds < most ? ` (${row.seeds} seeds)` : ''}`,
      `${shown(row.good, 1)}${asGood(row, rows, 'good', true) ? ' *' : ''}`,
      shown(row.goodPerS, 1),
      `${shown(row.ttft90)}${asGood(row, rows, 'ttft90', false) ? ' *' : ''}`,
      three(row, 'ttft'),
      three(row, 'tpot'),
      three(row, 'e2e'),
      shown(row.hit, 1),
      row.spread.mean.toFixed(2),
    ];
  });
}

export const where = ({ workload, replicas, gateways, load }) =>
  `${workload}, ${replicas} replicas, ${gateways > 1 ? `${gateways} gateways, ` : ''}load ${load}`;

/** A policy is not judged by itself with other knowledge. */
const ofOthers = (rows, policy) => rows.filter(({ strategy }) => !strategy.startsWith(`${policy}@`));

/** Groups in which the policy can be judged. */
export const judgeable = (groups, policy) =>
  groups.filter(({ rows }) => {
    const row = rows.find(({ strategy }) => strategy === policy);
    return row !== undefined && compared(row, ofOthers(rows, policy)).length > 0;
  });

/** Groups in which another one is better than the policy. */
export const lost = (groups, policy, name, more) =>
  judgeable(groups, policy).filter(({ rows }) => {
    const row = rows.find(({ strategy }) => strategy === policy);
    return !asGood(row, ofOthers(rows, policy), name, more);
  });

/** What columns strategies did without: by what it is, who. */
export function withoutOf(groups) {
  const without = new Map();
  for (const { rows } of groups)
    for (const { strategy, degraded, unfed } of rows)
      for (const what of [...degraded, ...unfed.map((column) => `unfed:${column}`)])
        without.set(what, new Set([...(without.get(what) ?? []), strategy]));
  return [...without].toSorted();
}

export const markdown = (titles, body) =>
  `| ${titles.join(' | ')} |\n|${titles.map((_, at) => (at === 0 ? '---' : '---:')).join('|')}|\n${body
    .map((line) => `| ${line.join(' | ')} |`)
    .join('\n')}`;

/** The policy beside the best of the others and prefix-cache with ideal knowledge: one line for each group that has it. */
export function summary(groups, policy) {
  const titles = [
    'workload, replicas, load',
    'good %',
    'best of the others',
    'more than it',
    'TTFT p90',
    'best of the others',
    'more than it',
    'good %, more than prefix-cache@ideal',
  ];
  const body = groups.flatMap((group) => {
    const row = group.rows.find(({ strategy }) => strategy === policy);
    const rows = ofOthers(group.rows, policy);
    const others = row === undefined ? [] : rows.filter((other) => other !== row && pairsOf(row, other) > 0);
    if (others.length === 0) return [];
    const cells = judged.flatMap(([, name, more]) => {
      const { other, by, pairs } = bestOther(row, rows, name, more);
      const digits = name === 'good' ? 1 : 0;
      const told = compared(row, rows).length > 0;
      const mark = told ? (asGood(row, rows, name, more) ? ' *' : '') : ' ?';
      return [
        `${row[name].mean.toFixed(digits)}${mark}`,
        other.strategy,
        signed(by, digits) + (pairs < row.seeds ? ` (${pairs})` : ''),
      ];
    });
    const ideal = others.find(({ strategy }) => strategy === 'prefix-cache@ideal');
    const gateways = group.gateways > 1 ? `, ${group.gateways} gateways` : '';
    return [
      [
        `${group.workload}, ${group.replicas}${gateways}, ${group.load} (${row.seeds})`,
        ...cells,
        ideal === undefined ? '–' : signed(difference(row, ideal, 'good'), 1),
      ],
    ];
  });
  return markdown(titles, body);
}

/** What strategies gain by other knowledge of prefixes, by pairs: a line for each group and strategy that has both. */
export function knowing(groups, knowledge) {
  const titles = [
    'workload, replicas, load (pairs)',
    'strategy',
    'good %',
    `@${knowledge}, more`,
    'TTFT p90',
    `@${knowledge}, more`,
    'hit %',
    `@${knowledge}, more`,
  ];
  const body = groups.flatMap(({ rows, workload, replicas, gateways, load }) =>
    rows.flatMap((row) => {
      const other = rows.find(({ strategy }) => strategy === `${row.strategy}@${knowledge}`);
      if (other === undefined || pairsOf(row, other) === 0) return [];
      const seeds = new Map([...row.runs].filter(([seed]) => other.runs.has(seed)));
      const own = rowOf(row.strategy, seeds);
      const gain = (name, digits) => signed(difference(other, row, name), digits);
      const several = gateways > 1 ? `, ${gateways} gateways` : '';
      return [
        [
          `${workload}, ${replicas}${several}, ${load} (${seeds.size})`,
          row.strategy,
          shown(own.good, 1),
          gain('good', 1),
          shown(own.ttft90),
          gain('ttft90', 0),
          shown(own.hit, 1),
          gain('hit', 1),
        ],
      ];
    }),
  );
  return body.length === 0 ? '' : markdown(titles, body);
}
