/** Metrics of one process as text; undefined where it gave none. */
export interface WorkerMetrics {
  readonly worker: string;
  readonly text: string | undefined;
}

const escaped = (text: string): string => text.replaceAll('\\', '\\\\').replaceAll('"', String.raw`\"`);

/** The name of a sample's family is told by the TYPE line before it, in prom-client's order. */
export function mergedMetrics(all: readonly WorkerMetrics[]): string {
  const families = new Map<string, { head: string[]; samples: string[] }>();
  for (const { worker, text } of all) {
    if (text === undefined) continue;
    const label = `worker="${escaped(worker)}"`;
    let family: { head: string[]; samples: string[] } | undefined;
    for (const line of text.split('\n')) {
      if (line === '') continue;
      if (!line.startsWith('#')) {
        family?.samples.push(labelled(line, label));
        continue;
      }
      const name = line.split(' ', 3)[2] ?? '';
      const known = families.get(name);
      if (known === undefined) families.set(name, (family = { head: [line], samples: [] }));
      else {
        // HELP and TYPE of the process that named it first.
        if (line.startsWith('# TYPE') && !known.head.some((one) => one.startsWith('# TYPE'))) known.head.push(line);
        family = known;
      }
    }
  }
  const up = all.map(
    ({ worker, text }) => `lintel_gateway_worker_up{worker="${escaped(worker)}"} ${text === undefined ? 0 : 1}`,
  );
  const own = [
    '# HELP lintel_gateway_worker_up 1 where the process answered this scrape.',
    '# TYPE lintel_gateway_worker_up gauge',
  ];
  const lines = [...families.values()].flatMap(({ head, samples }) => [...head, ...samples]);
  return `${[...lines, ...own, ...up].join('\n')}\n`;
}

function labelled(sample: string, label: string): string {
  const brace = sample.indexOf('{');
  const space = sample.indexOf(' ');
  if (brace < 0 || brace > space) return `${sample.slice(0, space)}{${label}}${sample.slice(space)}`;
  const rest = sample.slice(brace + 1);
  return `${sample.slice(0, brace)}{${label}${rest.startsWith('}') ? '' : ','}${rest}`;
}
