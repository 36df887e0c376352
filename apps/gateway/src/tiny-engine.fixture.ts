import { once } from 'node:events';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

export type Answer = (request: IncomingMessage, response: ServerResponse, body: string) => void;

export interface TinyEngine {
  readonly url: string;
  readonly port: number;
  /** Paths asked, with how often. */
  readonly asked: Map<string, number>;
  /** Chat requests that came in. */
  served: number;
  load: { running: number; waiting: number; kvUse: number };
  models: unknown;
  sleeping: boolean | undefined;
  /** Instead of what it would answer on a path. */
  readonly answers: Map<string, Answer>;
  authorization: string | undefined;
  /** Cuts every connection and listens no more. */
  kill(): Promise<void>;
  /** Listens again on the same port. */
  revive(): Promise<void>;
}

const chunk = (text: string): string => `data: ${JSON.stringify({ choices: [{ delta: { content: text } }] })}\n\n`;

/** A few lines of node:http that speak enough of vLLM for the gateway's tests. */
export async function tinyEngine(name = 'tiny'): Promise<TinyEngine> {
  let server: Server;
  const engine = {
    url: '',
    port: 0,
    asked: new Map<string, number>(),
    served: 0,
    load: { running: 0, waiting: 0, kvUse: 0 },
    models: { object: 'list', data: [{ id: name, owned_by: 'vllm', parent: null, max_model_len: 4096 }] } as unknown,
    sleeping: undefined as boolean | undefined,
    answers: new Map<string, Answer>(),
    authorization: undefined as string | undefined,
    kill: async () => {
      server.closeAllConnections();
      if (server.listening) {
        server.close();
        await once(server, 'close');
      }
    },
    revive: async () => await listen(),
  };
  const onRequest = (request: IncomingMessage, response: ServerResponse): void => {
    const chunks: Buffer[] = [];
    request.on('data', (bytes: Buffer) => chunks.push(bytes));
    request.on('end', () => {
      const path = request.url ?? '';
      engine.asked.set(path, (engine.asked.get(path) ?? 0) + 1);
      const other = engine.answers.get(path);
      if (other !== undefined) other(request, response, Buffer.concat(chunks).toString());
      else answer(engine, path, request, response, Buffer.concat(chunks).toString());
    });
    request.on('error', () => {});
  };
  const listen = async (): Promise<void> => {
    server = createServer(onRequest).listen(engine.port, '127.0.0.1');
    await once(server, 'listening');
    engine.port = (server.address() as AddressInfo).port;
    engine.url = `http://127.0.0.1:${engine.port}`;
  };
  await listen();
  return engine;
}

function answer(
  engine: TinyEngine,
  path: string,
  request: IncomingMessage,
  response: ServerResponse,
  body: string,
): void {
  const json = (value: unknown): void => {
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(value));
  };
  const { running, waiting, kvUse } = engine.load;
  switch (path) {
    case '/health':
      return void response.writeHead(200).end();
    case '/v1/models':
      return json(engine.models);
    case '/is_sleeping':
      return engine.sleeping === undefined
        ? void response.writeHead(404).end()
        : json({ is_sleeping: engine.sleeping });
    case '/metrics':
      return void response
        .writeHead(200, { 'content-type': 'text/plain' })
        .end(
          `# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{engine="0"} ${running}\n` +
            `vllm:num_requests_waiting{engine="0"} ${waiting}\nvllm:kv_cache_usage_perc{engine="0"} ${kvUse}\n`,
        );
    case '/v1/chat/completions': {
      engine.served++;
      engine.authorization = request.headers.authorization;
      if (!body.includes('"stream":true')) {
        return json({
          id: 'x',
          choices: [{ message: { role: 'assistant', content: 'hello' } }],
          usage: { prompt_tokens: 3, completion_tokens: 1 },
        });
      }
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write(chunk('he'));
      response.write(chunk('llo'));
      response.end('data: [DONE]\n\n');
      return;
    }
    default:
      return void response.writeHead(404).end();
  }
}
