import type { HttpRequest, HttpResponse } from '../serve/http/types.ts';

export interface CorsOptions {
  /** Origins, "https://*.example.com" for all below a name, or "*". */
  readonly origins: readonly string[];
  readonly exposeHeaders?: readonly string[] | undefined;
  readonly credentials?: boolean | undefined;
  readonly maxAgeS?: number | undefined;
}

/** What pages read of answers: ids for support, where it went, what is left of limits. */
const exposed = [
  'x-lintel-request-id',
  'request-id',
  'x-lintel-outcome',
  'target-pod',
  'routing-strategy',
  'x-session-id',
  'retry-after',
  'idempotent-replayed',
  ...['limit', 'remaining', 'reset'].flatMap((what) => [`x-ratelimit-${what}-requests`, `x-ratelimit-${what}-tokens`]),
];
const methods = 'GET, POST, DELETE, OPTIONS';
const headerNames = /^[A-Za-z0-9!#$%&'*+.^_`|~, -]{1,2048}$/;

/** Which pages' scripts may use the gateway, and read its answers. */
export class Cors {
  readonly counts = { allowed: 0, refused: 0 };
  readonly #exact: ReadonlySet<string>;
  readonly #below: readonly { readonly scheme: string; readonly suffix: string }[];
  readonly #any: boolean;
  readonly #expose: string;
  readonly #credentials: boolean;
  readonly #maxAgeS: number;

  constructor({ origins, exposeHeaders = [], credentials = false, maxAgeS = 600 }: CorsOptions) {
    this.#any = origins.includes('*');
    this.#exact = new Set(origins.filter((origin) => !origin.includes('*')));
    this.#below = origins.flatMap((origin) => {
      const at = origin.indexOf('*.');
      return at < 0 ? [] : [{ scheme: origin.slice(0, at), suffix: origin.slice(at + 1) }];
    });
    this.#expose = [...exposed, ...exposeHeaders].join(', ');
    this.#credentials = credentials;
    this.#maxAgeS = maxAgeS;
  }

  allows(origin: string): boolean {
    if (this.#any || this.#exact.has(origin)) return true;
    return this.#below.some(({ scheme, suffix }) => {
      const name = origin.slice(scheme.length, origin.length - suffix.length);
      return origin.startsWith(scheme) && origin.endsWith(suffix) && /^[a-z0-9-]+(\.[a-z0-9-]+)*$/.test(name);
    });
  }

  /** Answers a browser that asks before it sends; false where this is no such question. */
  preflight({ method, headers }: HttpRequest, response: HttpResponse): boolean {
    const { origin } = headers;
    if (method !== 'OPTIONS' || origin === undefined) return false;
    if (headers['access-control-request-method'] === undefined) return false;
    const vary = 'Origin, Access-Control-Request-Method, Access-Control-Request-Headers';
    if (!this.allows(origin)) {
      this.counts.refused++;
      response.writeHead(403, ['vary', vary, 'content-length', '0']);
      response.end();
      return true;
    }
    this.counts.allowed++;
    const out = ['vary', vary, ...this.#grant(origin), 'access-control-allow-methods', methods];
    const wanted = headers['access-control-request-headers'];
    if (wanted !== undefined && headerNames.test(wanted)) out.push('access-control-allow-headers', wanted);
    out.push('access-control-max-age', String(this.#maxAgeS));
    response.writeHead(204, out);
    response.end();
    return true;
  }

  /** Writes what the browser needs of an answer, in place of what the engine said of it. */
  append(out: string[], { headers }: HttpRequest): void {
    for (let index = out.length - 2; index >= 0; index -= 2) {
      if (out[index]?.toLowerCase().startsWith('access-control-') === true) out.splice(index, 2);
    }
    const { origin } = headers;
    out.push('vary', 'Origin');
    if (origin === undefined || !this.allows(origin)) return;
    out.push(...this.#grant(origin), 'access-control-expose-headers', this.#expose);
  }

  #grant(origin: string): readonly string[] {
    const out = ['access-control-allow-origin', this.#any ? '*' : origin];
    if (this.#credentials) out.push('access-control-allow-credentials', 'true');
    return out;
  }
}
