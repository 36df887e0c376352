import type { RunningDiagnostics } from './options.ts';
import { apiControllers } from './diagnostics.module.ts';
import { problem } from './openapi/answers.ts';
import type { ApiRoute } from './openapi/document.ts';
import { routesOf } from './openapi/document.ts';

export const adminKey = 'test-admin-key';

export interface Answered {
  readonly status: number;
  readonly type: string;
  readonly body: any;
}

const routes = routesOf(apiControllers).map((route) => ({
  ...route,
  pattern: new RegExp(`^${route.path.replace(/[.]/g, '\\.').replace(/\{\w+\}/g, '[^/]+')}$`),
}));
/** What was asked, for a test that wants every route to have been. */
export const asked = new Set<string>();

/** The longest literal path wins, as with the router. */
function routeOf(method: string, path: string): ApiRoute | undefined {
  const bare = path.split('?')[0] ?? '';
  const fitting = routes.filter((route) => route.method === method.toLowerCase() && route.pattern.test(bare));
  return fitting.find(({ path: literal }) => literal === bare) ?? fitting[0];
}

/** Every answer of every test is held to what the OpenAPI document says of it. */
function conforms(method: string, path: string, { status, type, body }: Answered): void {
  if (!path.startsWith('/api/v1/')) return;
  const route = routeOf(method, path);
  const say = (why: string): never => {
    throw new Error(`${method} ${path} answered ${status} not as the OpenAPI document says: ${why}`);
  };
  if (status >= 400) {
    if (!type.startsWith('application/problem+json')) say(`its type is ${type}`);
    const checked = problem.safeParse(body);
    if (!checked.success) say(checked.error.message);
    return;
  }
  if (route?.description === undefined) return say('the route is not described');
  asked.add(`${route.method} ${route.path}`);
  if (status !== route.status) say(`the status should be ${route.status}`);
  const { answer, as = 'json' } = route.description;
  for (const one of as === 'lines' ? (body as unknown[]) : [body]) {
    const checked = answer.safeParse(one);
    if (!checked.success) say(`${checked.error.message} in ${JSON.stringify(one).slice(0, 400)}`);
  }
}

/** Asks a running diagnostics as the command line does. */
export class Api {
  constructor(readonly running: Pick<RunningDiagnostics, 'url'>) {}

  async call(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Answered> {
    const answered = await this.#call(method, path, body, headers);
    conforms(method, path, answered);
    return answered;
  }

  async #call(method: string, path: string, body: unknown, headers: Record<string, string>): Promise<Answered> {
    const isText = typeof body === 'string';
    const response = await fetch(`${this.running.url}${path}`, {
      method,
      headers: {
        authorization: `Bearer ${adminKey}`,
        ...(body === undefined ? {} : { 'content-type': isText ? 'application/yaml' : 'application/json' }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: isText ? body : JSON.stringify(body) }),
    });
    const type = response.headers.get('content-type') ?? '';
    const text = await response.text();
    if (type.includes('ndjson')) {
      return {
        status: response.status,
        type,
        body: text
          .split('\n')
          .filter(Boolean)
          .map((line) => JSON.parse(line)),
      };
    }
    return { status: response.status, type, body: type.includes('json') ? JSON.parse(text) : text };
  }

  async get<T = any>(path: string): Promise<T> {
    return this.#good(path, await this.call('GET', path));
  }

  async post<T = any>(path: string, body?: unknown): Promise<T> {
    return this.#good(path, await this.call('POST', path, body));
  }

  #good(path: string, { status, body }: Answered): any {
    if (status === 200 || status === 201) return body;
    throw new Error(`${path} answered ${status}: ${JSON.stringify(body)}`);
  }
}
