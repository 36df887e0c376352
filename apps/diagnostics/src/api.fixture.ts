import type { RunningDiagnostics } from './options.ts';

export const adminKey = 'test-admin-key';

export interface Answered {
  readonly status: number;
  readonly type: string;
  readonly body: any;
}

/** Asks a running diagnostics as the command line does. */
export class Api {
  constructor(readonly running: Pick<RunningDiagnostics, 'url'>) {}

  async call(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Answered> {
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
