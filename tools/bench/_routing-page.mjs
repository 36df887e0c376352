// The plots of docs/routing.md: goodput and TTFT p90 by load, one line for each strategy.
const width = 460;
const height = 300;
const left = 52;
const top = 34;
const bottom = 40;
const right = 14;

const colours = [
  '#1f77b4', '#d62728', '#2ca02c', '#9467bd', '#ff7f0e', '#17becf', '#8c564b', '#e377c2', '#7f7f7f', '#bcbd22',
]; // prettier-ignore
const dashes = ['', '6 3', '2 2', '8 3 2 3'];

const escape = (text) => text.replace(/[&<>]/g, (sign) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;' })[sign]);
const style = (at) => {
  const dash = dashes[Math.floor(at / colours.length) % dashes.length];
  return `stroke="${colours[at % colours.length]}"${dash === '' ? '' : ` stroke-dasharray="${dash}"`}`;
};

/** Round steps over [from, to]; powers of ten where `log`. */
function ticks(from, to, log) {
  if (log) {
    const found = [];
    for (let power = Math.floor(Math.log10(from)); power <= Math.ceil(Math.log10(to)); power++)
      for (const times of [1, 3]) found.push(times * 10 ** power);
    return found.filter((value) => value >= from && value <= to);
  }
  const step = (to - from) / 5;
  return Array.from({ length: 6 }, (_, at) => from + at * step);
}

function panel({ x0, title, loads, series, log, unit }) {
  const all = series.flatMap(({ points }) => points).filter((value) => Number.isFinite(value) && value > 0);
  const low = log ? Math.min(...all) * 0.9 : 0;
  const high = log ? Math.max(...all) * 1.1 : 100;
  const scale = (value) => (log ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low));
  const y = (value) => top + (height - top - bottom) * (1 - Math.min(1, Math.max(0, scale(value))));
  const x = (load) =>
    x0 + left + ((width - left - right) * (load - loads[0])) / Math.max(1e-9, loads.at(-1) - loads[0]);
  const parts = [`<text x="${x0 + left}" y="20" font-weight="bold">${escape(title)}</text>`];
  for (const tick of ticks(low, high, log)) {
    const at = y(tick).toFixed(1);
    parts.push(`<line x1="${x0 + left}" x2="${x0 + width - right}" y1="${at}" y2="${at}" stroke="#ddd"/>`);
    parts.push(`<text x="${x0 + left - 6}" y="${Number(at) + 4}" text-anchor="end">${Math.round(tick)}</text>`);
  }
  for (const load of loads)
    parts.push(`<text x="${x(load).toFixed(1)}" y="${height - bottom + 18}" text-anchor="middle">${load}</text>`);
  parts.push(
    `<text x="${x0 + width - right}" y="${height - 6}" text-anchor="end">load, share of capacity; ${unit}</text>`,
  );
  for (const [at, { points }] of series.entries()) {
    const path = points
      .flatMap((value, index) => (Number.isNaN(value) ? [] : [`${x(loads[index]).toFixed(1)},${y(value).toFixed(1)}`]))
      .join(' ');
    parts.push(`<polyline points="${path}" fill="none" stroke-width="1.6" ${style(at)}/>`);
  }
  return parts.join('\n');
}

/** The fleet with which most loads were run. */
function mostLoads(groups) {
  const fleets = new Map();
  for (const { replicas, gateways } of groups) {
    const key = `${replicas} ${gateways}`;
    fleets.set(key, (fleets.get(key) ?? 0) + 1);
  }
  const [most] = [...fleets].toSorted(([, a], [, b]) => b - a)[0];
  return groups.filter(({ replicas, gateways }) => `${replicas} ${gateways}` === most);
}

/** One picture for each workload, of the strategies that were run at two loads or more. */
export function plots(groups) {
  const names = [...new Set(groups.map(({ workload }) => workload))];
  return names.flatMap((workload) => {
    const lines = mostLoads(groups.filter((group) => group.workload === workload)).toSorted((a, b) => a.load - b.load);
    const [{ replicas }] = lines;
    if (lines.length < 2) return [];
    const loads = lines.map(({ load }) => load);
    const strategies = [...new Set(lines.flatMap(({ rows }) => rows.map(({ strategy }) => strategy)))].filter(
      (strategy) => lines.filter(({ rows }) => rows.some((row) => row.strategy === strategy)).length > 1,
    );
    const of = (name) =>
      strategies.map((strategy) => ({
        points: lines.map(({ rows }) => rows.find((row) => row.strategy === strategy)?.[name].mean ?? Number.NaN),
      }));
    const rows = Math.ceil(strategies.length / 4);
    const legend = strategies.map((strategy, at) => {
      const x = 20 + (at % 4) * 225;
      const y = height + 16 + Math.floor(at / 4) * 18;
      return `<line x1="${x}" x2="${x + 26}" y1="${y}" y2="${y}" stroke-width="2" ${style(at)}/><text x="${x + 32}" y="${y + 4}">${escape(strategy)}</text>`;
    });
    const title = `${workload} on ${replicas} replicas`;
    const body = [
      panel({ x0: 0, title: `${title}: goodput`, loads, series: of('good'), log: false, unit: '% within the SLO' }),
      panel({ x0: width, title: 'TTFT p90', loads, series: of('ttft90'), log: true, unit: 'ms, logarithmic' }),
      ...legend,
    ].join('\n');
    const tall = height + 16 + rows * 18;
    const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${2 * width} ${tall}" font-family="sans-serif" font-size="11">\n<rect width="100%" height="100%" fill="#fff"/>\n${body}\n</svg>\n`;
    return [{ file: `routing-${workload}.svg`, title, svg }];
  });
}
