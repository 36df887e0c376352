import { type IncomingMessage, type Server, type ServerResponse, createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { SeededRng, errorText } from '#libs/kernel';
import { Adapters } from './adapters.ts';
import * as admin from './admin.ts';
import { chatCompletions } from './chat.ts';
import { completions } from './completions.ts';
import { ApiError, methodNotAllowed, notFound } from './errors.ts';
import { type FaultRule, Faults } from './faults.ts';
import { Exchange } from './http.ts';
import { KvPublisher } from './kv-publisher.ts';
import { LiveEngine } from './live-engine.ts';
import { type EngineSimOptions, withDefaults } from './options.ts';
import { type Sim, bodyOf } from './sim.ts';

export interface RunningEngineSim {
  readonly url: string;
  readonly port: number;
  readonly kvEvents?: { readonly port: number; readonly replayPort: number };
  stop(): Promise<void>;
}

type Handler = (sim: Sim, exchange: Exchange) => void | Promise<void>;
type Routes = Readonly<Record<string, Readonly<Record<string, Handler>>>>;

const empty: Handler = (_sim, exchange) => exchange.sendText(200, '');

const common: Routes = {
  '/health': { GET: empty },
  '/ping': { GET: empty, POST: empty },
  '/version': { GET: (_sim, exchange) => exchange.sendJson(200, '{"version":"0.32.0"}') },
  '/load': { GET: ({ engine }, exchange) => exchange.sendJson(200, `{"server_load":${engine.inside}}`) },
  '/metrics': {
    GET: (sim, exchange) =>
      exchange.sendText(200, sim.engine.renderMetrics(), 'text/plain; version=1.0.0; charset=utf-8'),
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
  '/v1/load_lora_adapter': { POST: admin.loadAdapter },
  '/v1/unload_lora_adapter': { POST: admin.unloadAdapter },
  '/sim/kv/release': { POST: admin.release },
};

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
  const methods = routes[exchange.path];
  const handler = methods?.[exchange.request.method ?? 'GET'];
  if (methods === undefined) exchange.sendJson(404, notFound);
  else if (handler === undefined) {
    exchange.sendJson(405, methodNotAllowed, { allow: Object.keys(methods).join(', ') });
  } else await handler(sim, exchange);
}

export async function startEngineSim(options: EngineSimOptions = {}): Promise<RunningEngineSim> {
  const settings = withDefaults(options);
  const { environment } = settings;
  const engine = new LiveEngine(settings);
  const adapters = new Adapters(settings);
  const kv = settings.kvEvents === undefined ? undefined : new KvPublisher(settings, (name) => adapters.idOf(name));
  const faults = new Faults(environment.rng, settings.faults);
  const sim: Sim = {
    settings,
    engine,
    adapters,
    kv,
    rng: new SeededRng(settings.seed),
    address: { host: settings.host, port: settings.port },
  };
  const routes: Routes = { ...common, ...generating, ...faultRoutes(faults) };
  const server = createServer({ keepAliveTimeout: 0 }, (request, response) => serve(request, response));
  if (settings.startUp) await environment.timers.sleep(settings.profile.startMs / settings.speed);
  await listen(server, settings.host, settings.port);
  const { port } = server.address() as AddressInfo;
  sim.address.port = port;
  if (kv !== undefined) {
    await kv.open(port);
    engine.onKvEvents = (events) => kv.publish(events);
  }

  function serve(request: IncomingMessage, response: ServerResponse): void {
    void handle(request, response);
  }

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = request.url ?? '/';
    let exchange = new Exchange(request, response, environment, {});
    try {
      const header = request.headers['x-sim-fault'];
      const fault = faults.take(path, Array.isArray(header) ? header[0] : header);
      exchange = new Exchange(request, response, environment, fault);
      if (fault.crash === true) return crash();
      if (fault.delayMs !== undefined) await environment.timers.sleep(fault.delayMs);
      if (exchange.spoiled() || exchange.gone) return;
      if (fault.status !== undefined) throw new ApiError(fault.status, 'A fault on request.', 'SimulatedFault');
      await route(routes, sim, exchange);
    } catch (error) {
      refuse(exchange, error);
    }
  }

  const sockets = new Set<import('node:net').Socket>();
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  });

  function crash(): void {
    if (settings.crash !== undefined) return settings.crash();
    server.close();
    for (const socket of sockets) socket.resetAndDestroy();
    engine.close();
    kv?.close();
  }

  return {
    url: `http://${settings.host}:${port}`,
    port,
    ...(kv === undefined ? {} : { kvEvents: { port: kv.port, replayPort: kv.replayPort } }),
    async stop() {
      engine.close();
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      kv?.close();
      await closed;
    },
  };
}

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => resolve());
  });
}
