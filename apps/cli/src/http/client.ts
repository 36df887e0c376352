import type { ClientRequest, IncomingMessage } from 'node:http';
import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { FailedLine } from '#libs/domain/diag';
import { CodedError, errorText } from '#libs/kernel';
import { ApiProblem } from '../exit-codes.ts';
import type { Server } from './find-server.ts';
import { unreachable } from './find-server.ts';
import { ndjson } from './ndjson.ts';

export const clientLimits = {
  /** Silence after which an ordinary question counts as unanswered. */
  silenceMsMax: 30_000,
  /** The same for what works through the whole log or its records before it says something. */
  longSilenceMsMax: 15 * 60_000,
  answerBytesMax: 256 * 1024 * 1024,
  problemBytesMax: 1024 * 1024,
} as const;

export interface Ask {
  readonly method?: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  readonly query?: Readonly<Record<string, string | number | undefined>>;
  /** Sent as JSON, or as it is with `contentType`. */
  readonly body?: unknown;
  readonly contentType?: string;
  /** `for-ever` is a stream that may be silent as long as it likes. */
  readonly patience?: 'short' | 'long' | 'for-ever';
}

export interface Answer {
  readonly status: number;
  readonly body: IncomingMessage;
}

const silence = { short: clientLimits.silenceMsMax, long: clientLimits.longSilenceMsMax, 'for-ever': 0 } as const;

export function pathOf(path: string, query: Ask['query'] = {}): string {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== '');
  return given.length === 0
    ? path
    : `${path}?${new URLSearchParams(given.map(([name, value]): [string, string] => [name, String(value)]))}`;
}

async function textOf(body: AsyncIterable<Buffer>, bytesMax: number): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    bytes += chunk.length;
    if (bytes > bytesMax) {
      throw new CodedError('API_ANSWER_UNUSABLE', `the answer is longer than ${bytesMax} bytes`, {
        advice: 'Ask for less with --limit.',
      });
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** An error answer as what it says; one that is not from Lintel as that. */
export function problemOf(status: number, text: string, apiUrl: string): ApiProblem {
  try {
    const { code, detail, title, advice } = JSON.parse(text) as Record<string, unknown>;
    if (typeof code === 'string') {
      const said = typeof detail === 'string' && detail !== '' ? detail : String(title ?? code);
      return new ApiProblem(status, code, said, typeof advice === 'string' ? advice : adviceFor(status));
    }
  } catch {
    // Not JSON: somebody else answers there.
  }
  return new ApiProblem(
    status,
    'API_ANSWER_UNUSABLE',
    `${apiUrl} answered HTTP ${status}, not as Lintel does`,
    adviceFor(status),
  );
}

function adviceFor(status: number): string | undefined {
  if (status === 401 || status === 403)
    return 'The admin key does not fit: check LINTEL_ADMIN_KEY, or use --home of that Lintel.';
  if (status === 404) return 'Is this the diagnostics API, and of the same version?';
  return undefined;
}

/** The last line of a stream that could not be finished. */
export function failureOf(line: unknown): ApiProblem | undefined {
  const { kind, code, text, advice } = line as Partial<FailedLine>;
  if (kind !== 'failed') return undefined;
  return new ApiProblem(
    500,
    code ?? 'UNKNOWN',
    text ?? 'the answer could not be finished',
    advice === '' ? undefined : advice,
  );
}

/** HTTP to the diagnostics API of one Lintel. */
export class ApiClient {
  constructor(readonly server: Server) {}

  async json<T>(path: string, ask: Ask = {}): Promise<T> {
    const { body } = await this.open(path, ask);
    const text = await this.#reading(textOf(body, clientLimits.answerBytesMax));
    try {
      return JSON.parse(text) as T;
    } catch (cause) {
      throw new CodedError(
        'API_ANSWER_UNUSABLE',
        `${this.server.apiUrl} answered what is not JSON: ${errorText(cause)}`,
        {
          advice: 'Is this the diagnostics API? See --api and LINTEL_API.',
          cause,
        },
      );
    }
  }

  /** The lines of an NDJSON answer as they come. @throws ApiProblem where the last one says that it could not be finished */
  async *lines<T>(path: string, ask: Ask = {}): AsyncIterable<T> {
    const { body } = await this.open(path, ask);
    try {
      for await (const line of ndjson(body)) {
        const failed = failureOf(line);
        if (failed !== undefined) throw failed;
        yield line as T;
      }
    } catch (thrown) {
      throw this.#named(thrown);
    } finally {
      body.destroy();
    }
  }

  /** The answer with its body unread, when its status says yes. @throws ApiProblem, LINTEL_NOT_RUNNING, API_UNREACHABLE, API_TIMEOUT */
  async open(path: string, ask: Ask = {}): Promise<Answer> {
    const answer = await this.#send(pathOf(path, ask.query), ask);
    if (answer.status >= 200 && answer.status < 300) return answer;
    const text = await this.#reading(textOf(answer.body, clientLimits.problemBytesMax));
    throw problemOf(answer.status, text, this.server.apiUrl);
  }

  /** Status and text, whatever they are. */
  async any(path: string): Promise<{ readonly status: number; readonly text: string }> {
    const { status, body } = await this.#send(path, {});
    return { status, text: await this.#reading(textOf(body, clientLimits.problemBytesMax)) };
  }

  async #reading<T>(work: Promise<T>): Promise<T> {
    try {
      return await work;
    } catch (thrown) {
      throw this.#named(thrown);
    }
  }

  #named(thrown: unknown): unknown {
    return thrown instanceof CodedError ? thrown : unreachable(this.server, thrown);
  }

  #send(path: string, { method = 'GET', body, contentType, patience = 'short' }: Ask): Promise<Answer> {
    const url = new URL(`${this.server.apiUrl}${path}`);
    const bytes =
      body === undefined ? undefined : Buffer.from(contentType === undefined ? JSON.stringify(body) : String(body));
    const headers: Record<string, string> = {
      ...(this.server.adminKey === '' ? {} : { authorization: `Bearer ${this.server.adminKey}` }),
      accept: 'application/json, application/x-ndjson',
      ...(bytes === undefined
        ? {}
        : { 'content-type': contentType ?? 'application/json', 'content-length': String(bytes.length) }),
    };
    const silenceMsMax = silence[patience];
    const { trusted } = this.server;
    return new Promise((resolve, reject) => {
      const send = url.protocol === 'https:' ? httpsRequest : httpRequest;
      let sent: ClientRequest;
      try {
        sent = send(url, { method, headers, agent: false, ...(trusted as object | undefined) });
      } catch (cause) {
        reject(
          new CodedError('ADMIN_KEY_INVALID', `the request cannot be made: ${errorText(cause)}`, {
            advice: 'An admin key is one line of plain characters.',
          }),
        );
        return;
      }
      if (silenceMsMax > 0) {
        sent.setTimeout(silenceMsMax, () =>
          sent.destroy(
            new CodedError('API_TIMEOUT', `${this.server.apiUrl} said nothing for ${silenceMsMax / 1_000} s`, {
              advice: 'It is up but does not answer: see its output and GET /ready.',
            }),
          ),
        );
      }
      sent.on('response', (response) => resolve({ status: response.statusCode ?? 0, body: response }));
      sent.on('error', (thrown) => reject(this.#named(thrown)));
      sent.end(bytes);
    });
  }
}
