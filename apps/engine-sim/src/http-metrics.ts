import { Histogram, number } from './prometheus.ts';

/** Paths that the real server does not count; also where they begin a later part of a path, as it happens there. */
const uncounted = ['/metrics', '/health', '/load', '/ping', '/version', '/server_info', '/sim/'];
const manyBounds = [0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 7.5, 10, 30, 60];
const fewBounds = [0.1, 0.5, 1];

export interface Served {
  /** The route, `none` when there is none. */
  readonly handler: string;
  readonly method: string;
  readonly status: number;
  readonly seconds: number;
  readonly requestBytes: number;
  readonly responseBytes: number;
}

class Summary {
  count = 0;
  sum = 0;
}

function entry<V>(map: Map<string, V>, key: string, fresh: () => V): V {
  const present = map.get(key);
  if (present !== undefined) return present;
  const made = fresh();
  map.set(key, made);
  return made;
}

/** The `http_*` families of the server's instrumentation. Label sets are bounded: routes × methods × status classes. */
export class HttpMetrics {
  readonly #requests = new Map<string, Summary>();
  readonly #requestBytes = new Map<string, Summary>();
  readonly #responseBytes = new Map<string, Summary>();
  readonly #many = new Histogram(manyBounds);
  readonly #few = new Map<string, Histogram>();

  count({ handler, method, status, seconds, requestBytes, responseBytes }: Served): void {
    if (uncounted.some((path) => handler.includes(path))) return;
    const byHandler = `handler="${handler}"`;
    entry(this.#requests, `${byHandler},method="${method}",status="${Math.floor(status / 100)}xx"`, () => new Summary())
      .count++;
    for (const [map, bytes] of [
      [this.#requestBytes, requestBytes],
      [this.#responseBytes, responseBytes],
    ] as const) {
      const summary = entry(map, byHandler, () => new Summary());
      summary.count++;
      summary.sum += bytes;
    }
    this.#many.observe(seconds);
    entry(this.#few, `${byHandler},method="${method}"`, () => new Histogram(fewBounds)).observe(seconds);
  }

  render(createdS: number, out: string[]): void {
    const head = (name: string, type: string): void =>
      void out.push(`# HELP ${name} Simulated.`, `# TYPE ${name} ${type}`);
    const created = (name: string, labelSets: Iterable<string>): void => {
      head(`${name}_created`, 'gauge');
      for (const labels of labelSets) out.push(`${name}_created${labels === '' ? '' : `{${labels}}`} ${createdS}`);
    };
    head('http_requests_total', 'counter');
    for (const [labels, { count }] of this.#requests) out.push(`http_requests_total{${labels}} ${number(count)}`);
    created('http_requests', this.#requests.keys());
    for (const [name, map] of [
      ['http_request_size_bytes', this.#requestBytes],
      ['http_response_size_bytes', this.#responseBytes],
    ] as const) {
      head(name, 'summary');
      for (const [labels, { count, sum }] of map) {
        out.push(`${name}_count{${labels}} ${number(count)}`, `${name}_sum{${labels}} ${number(sum)}`);
      }
      created(name, map.keys());
    }
    head('http_request_duration_highr_seconds', 'histogram');
    this.#many.lines('http_request_duration_highr_seconds', '', out);
    created('http_request_duration_highr_seconds', ['']);
    head('http_request_duration_seconds', 'histogram');
    for (const [labels, histogram] of this.#few) histogram.lines('http_request_duration_seconds', labels, out);
    created('http_request_duration_seconds', this.#few.keys());
  }
}
