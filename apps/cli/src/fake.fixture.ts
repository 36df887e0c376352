import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from './program.ts';

export interface Asked {
  readonly method: string;
  readonly url: string;
  readonly authorization: string | undefined;
  readonly contentType: string | undefined;
  readonly body: string;
}

export interface Reply {
  readonly status?: number;
  /** A value as JSON, a list of values as NDJSON, a text as it is. */
  readonly json?: unknown;
  readonly lines?: readonly unknown[];
  readonly text?: string;
  /** The connection is cut after what is written. */
  readonly cut?: boolean;
}

export interface FakeApi {
  readonly url: string;
  readonly asked: readonly Asked[];
  /** `METHOD /path` without the query → what it answers. */
  replies: Record<string, Reply>;
  close(): Promise<void>;
}

/** A small HTTP API that answers what it is told and remembers what it was asked. */
export async function fakeApi(): Promise<FakeApi> {
  const asked: Asked[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const { method = '', url = '', headers } = request;
      const body = Buffer.concat(chunks).toString();
      asked.push({ method, url, authorization: headers.authorization, contentType: headers['content-type'], body });
      const reply = fake.replies[`${method} ${url.split('?')[0]}`] ?? {
        status: 404,
        json: { code: 'ROUTE_NOT_FOUND', detail: `no ${method} ${url}` },
      };
      const text =
        reply.text ??
        (reply.lines === undefined
          ? JSON.stringify(reply.json)
          : reply.lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
      response.writeHead(reply.status ?? 200, { 'content-type': 'application/json' });
      if (reply.cut === true) {
        response.write(text, () => request.socket.destroy());
      } else response.end(text);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  const fake: FakeApi = {
    url: `http://127.0.0.1:${port}`,
    asked,
    replies: {},
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return fake;
}

export interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** One command line in this process, without a terminal. `onOut` sees stdout as it comes. */
export async function lintel(
  argv: readonly string[],
  options: { readonly input?: string; readonly live?: boolean; readonly onOut?: (text: string) => void } = {},
): Promise<Ran> {
  const out: string[] = [];
  const err: string[] = [];
  const code = await run(argv, {
    out: async (text) => {
      const shown = typeof text === 'string' ? text : Buffer.from(text).toString();
      out.push(shown);
      options.onOut?.(shown);
    },
    note: (text) => void err.push(text),
    input: async () => options.input ?? '',
    colors: { out: false, note: false },
    width: undefined,
    live: options.live === true,
  });
  return { code, out: out.join(''), err: err.join('') };
}

export interface TemporaryHome {
  readonly folder: string;
  path(name: string): string;
  remove(): Promise<void>;
}

/** A home as a running Lintel leaves it. */
export async function homeOf(connection?: Record<string, unknown>, adminKey = 'secret'): Promise<TemporaryHome> {
  const folder = await mkdtemp(join(tmpdir(), 'lintel-cli-'));
  const path = (name: string): string => join(folder, name);
  if (connection !== undefined) {
    await writeFile(path('admin-key'), `${adminKey}\n`, { mode: 0o600 });
    await writeFile(path('connection.json'), JSON.stringify({ adminKeyFile: path('admin-key'), ...connection }));
  }
  return { folder, path, remove: () => rm(folder, { recursive: true, force: true }) };
}
