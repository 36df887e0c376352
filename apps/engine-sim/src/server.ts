import { type IncomingMessage, type Server, type ServerResponse, createServer } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { CodedError, SeededRng, errorText } from '#libs/kernel';
import { Adapters } from './adapters.ts';
import * as admin from './admin.ts';
import { chatCompletions } from './chat.ts';
import { completions } from './completions.ts';
import { ApiError, methodNotAllowed, notFound } from './errors.ts';
import { type FaultRule, Faults } from './faults.ts';
import { embeddings } from './embeddings.ts';
import { HttpMetrics } from './http-metrics.ts';
import { Exchange } from './http.ts';
import { Instant } from './instant.ts';
import { KvPublisher } from './kv-publisher.ts';
import { countTokens, messages } from './messages.ts';
import { type EngineSimOptions, withDefaults } from './options.ts';
import { ranksMetrics, startRanks } from './ranks.ts';
import { responseUnknown, responses } from './responses.ts';
import { type Sim, bodyOf } from './sim.ts';

export interface RunningEngineSim {
  readonly url: string;
  readonly port: number;
  readonly kvEvents?: { readonly port: number; readonly replayPort: number };
  stop(): Promise<void>;
}

/** As in the real server: an idle connection may close just when a client uses it again. */
const keepAliveMs = 5000;
const backlog = 2048;

type Handler = (sim: Sim, exchange: Exchange) => void | Promise<void>;
type Routes = Readonly<Record<string, Readonly<Record<string, Handler>>>>;

const empty: Handler = (_sim, exchange) => exchange.sendText(200, '');

const common: Routes = {
  '/health': { GET: empty },
  '/ping': { GET: empty, POST: empty },
  '/version': { GET: (_sim, exchange) => exchange.sendJson(200, '{"version":"0.32.0"}') },
  '/load': {
    GET: ({ ranks }, exchange) =>
      exchange.sendJson(200, `{"server_load":${ranks.reduce((sum, { inside }) => sum + inside, 0)}}`),
  },
  '/metrics': {
    GET: (sim, exchange) => exchange.sendText(200, metricsText(sim), 'text/plain; version=1.0.0; charset=utf-8'),
  },
  '/v1/models': { GET: admin.models },
  '/tokenize': { POST: admin.tokenize },
  '/detokenize': { POST: admin.detokenize },
  '/sleep': { POST: admin.sleep },
  '/wake_up': { POST: admin.wake },
  '/is_sleeping': { GET: admin.isSleeping },
  '/pause': { POST: admin.pause },
  '/resume': { POST: admin.resume },
  '/is_paused': { GET: admin.isPaused },
  '/reset_prefix_cache': { POST: admin.resetPrefixCache },
  '/kv_event_sources': { GET: admin.kvEventSources },
};

const generating: Routes = {
  '/v1/chat/completions': { POST: chatCompletions },
  '/v1/completions': { POST: completions },
  '/v1/responses': { POST: responses },
  '/v1/responses/{response_id}': {
    GET: (_sim, exchange) => {
      throw responseUnknown(exchange.path.slice('/v1/responses/'.length));
    },
  },
  '/v1/messages': { POST: messages },
  '/v1/messages/count_tokens': { POST: countTokens },
  '/v1/load_lora_adapter': { POST: admin.loadAdapter },
  '/v1/unload_lora_adapter': { POST: admin.unloadAdapter },
  '/sim/kv/release': { POST: admin.release },
};

const pooling: Routes = { '/v1/embeddings': { POST: embeddings } };

function metricsText({ ranks, engine, http }: Sim): string {
  const out = [ranksMetrics(ranks)];
  http.render(engine.metrics.createdS, out);
  return `${out.join('\n')}\n`;
}

const oneResponse = /^\/v1\/responses\/[^/]+$/;
const routeName = (path: string): string => (oneResponse.test(path) ? '/v1/responses/{response_id}' : path);

function faultRoutes(faults: Faults): Routes {
  const list: Handler = (_sim, exchange) => exchange.sendJson(200, JSON.stringify({ faults: faults.list() }));
  return {
    '/sim/faults': {
      GET: list,
      POST: async (sim, exchange) => {
        faults.add((await bodyOf(exchange)) as unknown as FaultRule);
        return list(sim, exchange);
      },
      DELETE: (sim, exchange) => {
        faults.clear();
        return list(sim, exchange);
      },
    },
  };
}

function refuse(exchange: Exchange, error: unknown): void {
  if (exchange.response.headersSent || exchange.gone) {
    exchange.response.destroy();
    return;
  }
  const shown = error instanceof ApiError ? error : new ApiError(500, errorText(error), 'InternalServerError');
  exchange.sendJson(shown.status, shown.body);
}

async function route(routes: Routes, sim: Sim, exchange: Exchange): Promise<void> {
  const name = routeName(exchange.path);
  const methods = routes[name];
  const handler = methods?.[exchange.request.method ?? 'GET'];
  exchange.handler = handler === undefined ? 'none' : name;
  if (methods === undefined) exchange.sendJson(404, notFound);
  else if (handler === undefined) {
    exchange.sendJson(405, methodNotAllowed, { allow: Object.keys(methods).join(', ') });
  } else await handler(sim, exchange);
}

export async function startEngineSim(options: EngineSimOptions = {}): Promise<RunningEngineSim> {
  const settings = withDefaults(options);
  const { environment } = settings;
  const ranks = startRanks(settings);
  const engine = ranks[0]!;
  const adapters = new Adapters(settings);
  const kv = settings.kvEvents === undefined ? undefined : new KvPublisher(settings, (name) => adapters.idOf(name));
  const faults = new Faults(environment.rng, settings.faults);
  const sim: Sim = {
    settings,
    ranks,
    engine,
    adapters,
    kv,
    http: new HttpMetrics(),
    rng: new SeededRng(settings.seed),
    address: { port: settings.port },
  };
  const routes: Routes = {
    ...common,
    ...(settings.runner === 'generate' ? generating : pooling),
    ...faultRoutes(faults),
  };
  const server = createServer({ keepAliveTimeout: keepAliveMs }, (request, response) => serve(request, response));
  if (settings.startUp) await environment.timers.sleep(settings.profile.startMs / settings.speed);
  await listen(server, settings.host, settings.port);
  const { port } = server.address() as AddressInfo;
  sim.address.port = port;
  if (kv !== undefined) {
    try {
      await kv.open(port);
    } catch (cause) {
      server.close();
      kv.close();
      const advice = 'choose other ports for KV events, or 0 for any free ones';
      throw new CodedError('ENGINE_SIM_CANNOT_PUBLISH', `KV events: ${errorText(cause)}`, { advice, cause });
    }
    engine.onKvEvents = (events) => kv.publish(events);
  }

  const instant = settings.instant ? new Instant(settings) : undefined;

  function serve(request: IncomingMessage, response: ServerResponse): void {
    if (instant?.answer(request, response) !== true) void handle(request, response);
  }

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = request.url ?? '/';
    let exchange = new Exchange(request, response, environment, {});
    try {
      const header = request.headers['x-sim-fault'];
      const fault = faults.take(path, Array.isArray(header) ? header[0] : header);
      exchange = new Exchange(request, response, environment, fault);
      count(exchange);
      if (fault.crash === true) return crash();
      if (fault.delayMs !== undefined) await environment.timers.sleep(fault.delayMs);
      if (exchange.spoiled() || exchange.gone) return;
      if (fault.status !== undefined) throw new ApiError(fault.status, 'A fault on request.', 'SimulatedFault');
      await route(routes, sim, exchange);
    } catch (error) {
      refuse(exchange, error);
    }
  }

  function count(exchange: Exchange): void {
    const began = engine.nowMs();
    const { request, response } = exchange;
    response.once('close', () => {
      sim.http.count({
        handler: exchange.handler,
        method: request.method ?? 'GET',
        status: response.statusCode,
        seconds: (engine.nowMs() - began) / 1000,
        requestBytes: Number(request.headers['content-length'] ?? 0),
        responseBytes: Number(response.getHeader('content-length') ?? 0),
      });
    });
  }

  const sockets = new Set<Socket>();
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  });

  function crash(): void {
    if (settings.crash !== undefined) return settings.crash();
    server.close();
    for (const socket of sockets) socket.resetAndDestroy();
    for (const one of ranks) one.close();
    kv?.close();
  }

  return {
    url: `http://${settings.host}:${port}`,
    port,
    ...(kv === undefined ? {} : { kvEvents: { port: kv.port, replayPort: kv.replayPort } }),
    async stop() {
      for (const one of ranks) one.close();
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      kv?.close();
      await closed;
    },
  };
}

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause) => {
      const advice = 'choose another port, or 0 for any free one';
      reject(new CodedError('ENGINE_SIM_CANNOT_LISTEN', `${host}:${port}: ${cause.message}`, { advice, cause }));
    });
    server.listen({ port, host, backlog }, () => resolve());
  });
}
